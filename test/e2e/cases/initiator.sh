# basaltd is the host: it attaches a namespace of the kernel's own target, by two paths, and serves
# it to the guest's kernel. All three run in the guest. What is written at the one end has to be at
# the other, and a path that goes must not be noticed.
# At the end nvmet wants basaltd to prove itself with DH-HMAC-CHAP.
# Environment: NQN (what basaltd serves), NQN_BEHIND (what nvmet serves), UUID, a virtio drive,
# HOST_ALLOWED (what basaltd says it is, which has SECRET), CONTROLLER_SECRET, OTHER_SECRET.

behind=/sys/kernel/config/nvmet
drive=/dev/vda

# listen_on NUMBER: nvmet's port 4430 + NUMBER shows the subsystem.
listen_on() {
    ln -s "$behind/subsystems/$NQN_BEHIND" "$behind/ports/$1/subsystems/"
}

# is_connected_to PORT: somebody has a connection there.
is_connected_to() {
    grep -q ":$(printf %04X "$1") 01 " /proc/net/tcp
}

listens_or_ended() {
    ! kill -0 "$daemon" || grep -q ":$(printf %04X "$TARGET_PORT") 00000000:0000 0A" /proc/net/tcp
}

# run_basaltd SECRETS: what it proves itself with, or nothing. Fails if it ends, having closed.
run_basaltd() {
    basaltd --json "/e2e/$1.json" -r /tmp/rpc.sock --cores 0 &
    daemon=$!
    wait_for 120 listens_or_ended
    kill -0 "$daemon"
}

end_basaltd() {
    kill -TERM "$daemon"
    wait "$daemon" || fail "basaltd ended with $?"
}

# wants_proof NAME WORD: an attribute of the host in nvmet.
wants_proof() {
    echo "$2" >"$behind/hosts/$HOST_ALLOWED/dhchap_$1"
}

load nvmet
load nvmet_tcp
load virtio_blk
load ext4
wait_for 60 test -b "$drive"
mount -t configfs configfs /sys/kernel/config

step "nvmet on the drive, two ports"
mkdir "$behind/subsystems/$NQN_BEHIND"
echo 1 >"$behind/subsystems/$NQN_BEHIND/attr_allow_any_host"
mkdir "$behind/subsystems/$NQN_BEHIND/namespaces/1"
echo -n "$drive" >"$behind/subsystems/$NQN_BEHIND/namespaces/1/device_path"
echo -n "$UUID" >"$behind/subsystems/$NQN_BEHIND/namespaces/1/device_uuid"
echo 1 >"$behind/subsystems/$NQN_BEHIND/namespaces/1/enable"
for number in 1 2; do
    mkdir "$behind/ports/$number"
    echo tcp >"$behind/ports/$number/addr_trtype"
    echo ipv4 >"$behind/ports/$number/addr_adrfam"
    echo 127.0.0.1 >"$behind/ports/$number/addr_traddr"
    echo $((4430 + number)) >"$behind/ports/$number/addr_trsvcid"
    listen_on "$number"
done

step "basaltd attaches it and serves it"
run_basaltd none || fail "basaltd ended"

step "the guest's kernel connects to basaltd"
connect "$NQN"
disk=$(namespace "$NQN" 1)
equal "size" "$(blockdev --getsize64 "$drive")" "$(blockdev --getsize64 "$disk")"
equal "uuid" "$UUID" "$(cat "/sys/block/${disk##*/}/uuid")"

step "fio with verification"
fio_verify "$disk" --bsrange=4k-128k --size=8m --iodepth=16
equal "what the drive holds" "$(checksum_region "$disk" 64 8)" "$(checksum_region "$drive" 64 8)"

step "write zeroes"
DEVICE=$disk
zeroed_between 100 blkdiscard -f -z -o 101M -l 2M "$DEVICE"

step "commands by hand"
dd if=/dev/urandom of=/tmp/data bs=4096 count=1 2>/dev/null
tr '\000-\377' '\001-\377\000' </tmp/data >/tmp/other
nvme write "$disk" -s 80 -c 7 -z 4096 -d /tmp/data --force-unit-access
nvme flush "$disk" -n 1
dd if="$drive" of=/tmp/read bs=512 skip=80 count=8 iflag=direct 2>/dev/null
cmp /tmp/data /tmp/read || fail "the drive holds something else"
nvme dsm "$disk" -n 1 -d -s 96 -b 8

step "a path goes and comes back, twice each, under I/O"
fio --name=verify --filename="$disk" --offset=64m --size=16m --ioengine=libaio --direct=1 \
    --eta=never --rw=randwrite --bs=4k --iodepth=8 --verify=crc32c --verify_fatal=1 \
    --do_verify=1 --time_based --runtime=12 --output-format=terse --output=/tmp/fio.out &
fio=$!
for number in 1 2 1 2; do
    sleep 1
    rm "$behind/ports/$number/subsystems/$NQN_BEHIND"
    sleep 1
    listen_on "$number"
    wait_for 60 is_connected_to $((4430 + number))
done
wait "$fio" || { cat /tmp/fio.out; fail "fio"; }

step "both paths go: I/O waits"
rm "$behind/ports/1/subsystems/$NQN_BEHIND" "$behind/ports/2/subsystems/$NQN_BEHIND"
dd if=/tmp/data of="$disk" bs=4096 seek=12 oflag=direct 2>/dev/null &
writer=$!
sleep 2
kill -0 "$writer" || fail "a write without a path did not wait"
listen_on 1
wait "$writer" || fail "a write that waited has failed"
dd if="$drive" of=/tmp/read bs=4096 skip=12 count=1 iflag=direct 2>/dev/null
cmp /tmp/data /tmp/read || fail "what waited was not written"
listen_on 2

step "ext4"
mkfs.ext4 -q -F "$disk"
mount "$disk" /mnt
dd if=/dev/urandom of=/mnt/big bs=1M count=4 2>/dev/null
sum=$(sha256sum </mnt/big)
drop_caches
equal "checksum" "$sum" "$(sha256sum </mnt/big)"
umount /mnt
e2fsck -fn "$drive"
disconnect "$NQN"

step "basaltd ends in order"
end_basaltd

mkdir "$behind/hosts/$HOST_ALLOWED"
if ! [ -e "$behind/hosts/$HOST_ALLOWED/dhchap_key" ]; then
    echo "this kernel's nvmet can't authenticate hosts"
    exit 0
fi

step "nvmet wants a proof: without a secret, or with a wrong one, basaltd gets nothing"
echo 0 >"$behind/subsystems/$NQN_BEHIND/attr_allow_any_host"
ln -s "$behind/hosts/$HOST_ALLOWED" "$behind/subsystems/$NQN_BEHIND/allowed_hosts/"
for name in SECRET OTHER_SECRET CONTROLLER_SECRET; do
    (umask 077 && eval echo "\$$name" >"/tmp/$name")
done
wants_proof key "$SECRET"
wants_proof hash "hmac(sha256)"
wants_proof dhgroup ffdhe2048
refuses run_basaltd none
refuses run_basaltd wrong

for algorithms in "hmac(sha256) null" "hmac(sha384) ffdhe2048" "hmac(sha512) ffdhe3072"; do
    step "basaltd proves itself, with $algorithms"
    wants_proof hash "${algorithms% *}"
    wants_proof dhgroup "${algorithms#* }"
    run_basaltd host || fail "basaltd did not prove itself"
    connect "$NQN"
    disk=$(namespace "$NQN" 1)
    equal "what the drive holds" "$(checksum_region "$drive" 64 8)" \
        "$(checksum_region "$disk" 64 8)"
    disconnect "$NQN"
    end_basaltd
done

step "both prove themselves, and do so again when a path has gone"
wants_proof ctrl_key "$CONTROLLER_SECRET"
refuses run_basaltd impostor
run_basaltd both || fail "they did not prove themselves"
connect "$NQN"
disk=$(namespace "$NQN" 1)
for number in 1 2; do
    rm "$behind/ports/$number/subsystems/$NQN_BEHIND"
    sleep 1
    listen_on "$number"
    wait_for 60 is_connected_to $((4430 + number))
done
fio_verify "$disk" --bsrange=4k-128k --size=4m --iodepth=8
disconnect "$NQN"
end_basaltd
