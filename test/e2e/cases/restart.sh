# The target is killed under I/O and started again, twice, then told to end under I/O: the host
# reconnects by itself, no I/O fails, nothing acknowledged is lost and nothing old comes back.
# At last the host vanishes under I/O.
# Environment: NQN with namespaces 1 and 2.

reconnect_count() {
    dmesg | grep -c "Successfully reconnected" || true
}

has_reconnected() {
    [ "$(reconnect_count)" -ge "$1" ]
}

connect "$NQN" --ctrl-loss-tmo=600 --reconnect-delay=1 -i 2
first=$(namespace "$NQN" 1)
second=$(namespace "$NQN" 2)
blkdiscard -f -z -o 64M -l 16M "$second"

step "load on both namespaces"
shielded block-journal run "$first" /tmp/journal >/tmp/journal.log 2>&1 &
journal=$!
shielded fio --name=verify --filename="$second" --offset=64m --size=16m --ioengine=libaio \
    --direct=1 --eta=never --rw=randrw --bsrange=4k-64k --iodepth=8 --verify=crc32c \
    --verify_fatal=1 --do_verify=1 --time_based --runtime=12 --output=/tmp/fio.log &
fio=$!
sleep 3

round=0
for request in kill-target kill-target stop-target; do
    round=$((round + 1))
    step "$request and start-target, round $round"
    host "$request"
    sleep 1
    refuses is_live "$NQN"
    host start-target
    wait_for 120 is_live "$NQN"
    # The kernel says so a moment after the controller is live.
    wait_for 60 has_reconnected "$round"
    equal "reconnects" "$round" "$(reconnect_count)"
    sleep 2
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

step "the same after dropping caches, and over a new connection"
drop_caches
block-journal check "$first" /tmp/journal
disconnect "$NQN"
connect "$NQN"
block-journal check "$(namespace "$NQN" 1)" /tmp/journal

step "the host vanishes under I/O: the target has to be there still, and to end in order"
fio --name=last --filename="$second" --ioengine=libaio --direct=1 --rw=randwrite --bs=128k \
    --iodepth=16 --size=64m --time_based --runtime=600 --eta=never >/dev/null 2>&1 &
sleep 2
