# A volume of a pool under I/O; a snapshot is taken, the target is killed, the pool opens again, and
# all of its tables are checked: several times. No I/O fails, nothing acknowledged is lost, and each
# snapshot is what the volume held when it was taken.
# Environment: NQN with namespace 1, the volume; ROUNDS. The host adds the snapshots, from 2.

connect "$NQN" --ctrl-loss-tmo=600 --reconnect-delay=1 -i 2
volume=$(namespace "$NQN" 1)

step "load on the volume"
shielded block-journal run "$volume" /tmp/journal >/tmp/journal.log 2>&1 &
journal=$!
shielded fio --name=verify --filename="$volume" --offset=64m --size=16m --ioengine=libaio \
    --direct=1 --eta=never --rw=randrw --bsrange=512-64k --iodepth=8 --verify=crc32c \
    --verify_fatal=1 --do_verify=1 --time_based --runtime=$((ROUNDS * 3)) --output=/tmp/fio.log &
fio=$!
sleep 1

for round in $(seq "$ROUNDS"); do
    step "a snapshot and kill -9, round $round"
    # Nothing is in the middle of a write to this part of the volume.
    dd if=/dev/urandom of="$volume" bs=64k seek=$((32 * 16)) count=4 oflag=direct 2>/dev/null
    checksum_region "$volume" 32 1 >"/tmp/still-$round"
    cp /tmp/journal "/tmp/before-$round"
    host "snapshot $round"
    cp /tmp/journal "/tmp/after-$round"
    host kill-target
    host start-target
    wait_for 120 is_live "$NQN"
    host check
    sleep 1
done

step "the load ends without an error"
kill -TERM "$journal" || {
    cat /tmp/journal.log
    wait "$journal" || fail "block-journal ended by itself: $?"
}
wait "$journal" || { cat /tmp/journal.log; fail "block-journal"; }
cat /tmp/journal.log
wait "$fio" || { cat /tmp/fio.log; fail "fio"; }
grep -E "^ *(read|write):|err=" /tmp/fio.log

for round in $(seq "$ROUNDS"); do
    step "what snapshot $round holds"
    snapshot=$(namespace "$NQN" $((round + 1)))
    equal "what stood still" "$(cat "/tmp/still-$round")" "$(checksum_region "$snapshot" 32 1)"
    block-journal check "$snapshot" "/tmp/before-$round" "/tmp/after-$round"
done

step "a snapshot is deleted under the others"
host delete-snapshot
host check
block-journal check "$volume" /tmp/journal
