# A replicated volume: three stores, two targets that may be its head, native multipath over both.
# Stores and heads are killed, stopped and brought back under I/O; no I/O fails, and what was
# acknowledged is there.
# Environment: NQN with namespace 1 on both targets; TARGET_PORT of "this", which has the volume at
# first, OTHER_PORT of "other"; ROUNDS.

for port in "$TARGET_PORT" "$OTHER_PORT"; do
    nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$port" -n "$NQN" -i 1 --ctrl-loss-tmo=600 \
        --reconnect-delay=1
done
disk=$(namespace "$NQN" 1)
# ana PORT STATE
is_ana() {
    for path in /sys/class/nvme/nvme*; do
        case $(cat "$path/address" 2>/dev/null) in *trsvcid="$1"*)
            [ "$(cat "$path"/nvme*/ana_state)" = "$2" ]
            return
            ;;
        esac
    done
    return 1
}
wait_for 60 is_ana "$TARGET_PORT" optimized
wait_for 60 is_ana "$OTHER_PORT" inaccessible
nvme list-subsys "$disk"

step "load"
shielded block-journal run "$disk" /tmp/journal >/tmp/journal.log 2>&1 &
journal=$!
verify_until_stop() {
    while [ ! -e /tmp/stop ]; do
        shielded_fio || return 1
    done
}
shielded_fio() (
    shielded fio --name=verify --filename="$disk" --offset=64m --size=16m --ioengine=libaio \
        --direct=1 --eta=never --rw=randrw --bsrange=4k-64k --iodepth=8 --verify=crc32c \
        --verify_fatal=1 --do_verify=1 --time_based --runtime=4 --output=/tmp/fio.log
)
verify_until_stop &
fio=$!
sleep 1

# moves_to HEAD PORT OTHER_PORT: the volume, and with it the host's I/O.
moves_to() {
    host take-over "$1"
    wait_for 60 is_ana "$2" optimized
}

for round in $(seq "$ROUNDS"); do
    step "a store is killed and comes back, round $round"
    host kill 0
    host wait-out this 0
    host start 0
    host wait-in-sync this

    step "a store is stopped and goes on"
    host pause 1
    host wait-out this 1
    host resume 1
    host wait-in-sync this

    step "the volume moves from a head that lives"
    moves_to other "$OTHER_PORT"
    wait_for 60 is_ana "$TARGET_PORT" inaccessible
    host wait-in-sync other

    step "and from one that is killed, while a store is away"
    host kill 2
    host wait-out other 2
    host kill other
    moves_to this "$TARGET_PORT"
    host start other
    host start 2
    host wait-in-sync this
    wait_for 60 is_ana "$OTHER_PORT" inaccessible

    step "and from one that is stopped, and finds out later"
    host pause this
    moves_to other "$OTHER_PORT"
    host resume this
    host wait-standby this
    wait_for 60 is_ana "$TARGET_PORT" inaccessible
    host wait-in-sync other
    moves_to this "$TARGET_PORT"
    host wait-in-sync this
done

step "the load ends without an error"
touch /tmp/stop
kill -TERM "$journal" || { cat /tmp/journal.log; fail "block-journal ended by itself"; }
wait "$journal" || { cat /tmp/journal.log; fail "block-journal"; }
cat /tmp/journal.log
wait "$fio" || { cat /tmp/fio.log; fail "fio"; }
grep -E "^ *(read|write):|err=|lat.*max" /tmp/fio.log
drop_caches
block-journal check "$disk" /tmp/journal
disconnect "$NQN"
