# basaltd in the guest, on an emulated NVMe drive whose cache loses its power with the guest. The
# guest writes to a volume of a pool, takes and deletes snapshots, and is cut off in the middle.
# What the drive kept, then and at moments before, has to hold all that was acknowledged.
# Environment: PHASE. "work": NQN with namespace 1, the volume. "check": CUTS, for each what was
# acknowledged in /e2e/cuts (N.journal; N.M.before and N.M.after for snapshot M); the host serves
# their pools.

listens_or_ended() {
    ! kill -0 "$daemon" || grep -q ":$(printf %04X "$TARGET_PORT") 00000000:0000 0A" /proc/net/tcp
}

# call METHOD PARAMETERS: of the daemon in the guest; the answer is one line.
call() {
    printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' "$1" "$2" >/tmp/call
    { cat /tmp/call; sleep 0.2; } | timeout 60 nc 127.0.0.1 5260 >/tmp/answer || true
    grep -q '"result"' /tmp/answer || { cat /tmp/answer; fail "$1"; }
}

# keep SLOT: what the journal says now, on the same drive, which survives the cut.
keep() {
    dd if=/dev/vda of=/tmp/copy bs=32k count=1 2>/dev/null
    dd if=/tmp/copy of=/dev/vda bs=32k seek="$1" conv=notrunc oflag=direct 2>/dev/null
}

# forget SLOT
forget() {
    dd if=/dev/zero of=/dev/vda bs=32k seek="$1" count=1 conv=notrunc oflag=direct 2>/dev/null
}

if [ "$PHASE" = check ]; then
    for cut in $(seq "$CUTS"); do
        step "the pool of cut $cut"
        host "open $cut"
        connect "$NQN"
        block-journal check "$(namespace "$NQN" 1)" "/e2e/cuts/$cut.journal"
        for before in "/e2e/cuts/$cut".*.before; do
            [ -e "$before" ] || continue
            number=${before%.before}
            number=${number##*.}
            block-journal check "$(namespace "$NQN" $((number + 1)))" "$before" \
                "/e2e/cuts/$cut.$number.after"
        done
        disconnect "$NQN"
        host "close $cut"
    done
    exit 0
fi

load nvme
load virtio_blk
load loop
wait_for 60 test -b /dev/nvme0n1 -a -b /dev/vda
# QEMU's drive ignores "force unit access". Over a loop device Linux makes it a flush, which the
# drive obeys.
losetup /dev/loop0 /dev/nvme0n1

step "basaltd on the drive"
basaltd --json /e2e/config.json -r /tmp/rpc.sock --rpc-tcp 127.0.0.1:5260 --cores 0 &
daemon=$!
wait_for 120 listens_or_ended
kill -0 "$daemon" || fail "basaltd ended"
connect "$NQN"
block-journal run "$(namespace "$NQN" 1)" /dev/vda &
sleep 1

for number in $(seq 15); do
    step "snapshot $number"
    keep $((2 * number - 1))
    call bdev_lvol_snapshot "{\"lvol_name\":\"pool0/volume\",\"snapshot_name\":\"s$number\"}"
    keep $((2 * number))
    sleep 0.3
    if [ "$number" -gt 2 ]; then
        # Without its first copy nobody counts on it.
        forget $((2 * number - 5))
        call bdev_lvol_delete "{\"name\":\"pool0/s$((number - 2))\"}"
    fi
    [ "$number" -lt 6 ] || host cut-power &
    sleep 0.2
done
fail "there is power still"
