# Native multipath: two targets serve one subsystem and namespace, which both have from a third. I/O
# follows the ANA states and goes on when a target is killed; discovery tells of both targets.
# Environment: NQN with namespace 1 on both targets; TARGET_PORT and DISCOVERY_PORT of the one,
# OTHER_PORT of the other.

# connect_to PORT
connect_to() {
    nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$1" -n "$NQN" -i 2 --ctrl-loss-tmo=600 \
        --reconnect-delay=1
}

# path_by PORT: the name of the controller that came by it (nvme0).
path_by() {
    for path in /sys/class/nvme/nvme*; do
        case $(cat "$path/address" 2>/dev/null) in *trsvcid="$1"*)
            basename "$path"
            return 0
            ;;
        esac
    done
    return 1
}

# ana_by PORT: the state of the namespace there, as the kernel has it.
ana_by() {
    cat /sys/class/nvme/"$(path_by "$1")"/nvme*/ana_state
}

is_ana() {
    [ "$(ana_by "$1")" = "$2" ]
}

is_state() {
    [ "$(cat "/sys/class/nvme/$(path_by "$1")/state")" = "$2" ]
}

# ios_by PORT: how many requests the path has completed.
ios_by() {
    cat /sys/class/nvme/"$(path_by "$1")"/nvme*/stat | awk '{ print $1 + $5 }'
}

# goes_by PORT [NOT_PORT]: within two seconds the one path has served I/O and the other none.
goes_by() {
    before=$(ios_by "$1")
    idle=$(ios_by "$2")
    sleep 1
    [ "$(ios_by "$1")" -gt "$before" ] && [ "$(ios_by "$2")" -eq "$idle" ]
}

step "discovery tells of the other target, and of changes"
discovered() {
    nvme discover -t tcp -a "$TARGET_ADDRESS" -s "$DISCOVERY_PORT" >/tmp/discovery
}
discovered
refuses grep "subtype: *referral" /tmp/discovery
nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$DISCOVERY_PORT" -k 30 \
    -n nqn.2014-08.org.nvmexpress.discovery
uevent env >/tmp/events &
listener=$!
sleep 0.5
host add-referral
wait_for 60 grep -q "^NVME_AEN=0x70f002" /tmp/events
discovered
grep -A 8 "subtype: *discovery subsystem referral" /tmp/discovery | tee /tmp/referral
grep -q "^trsvcid: *$OTHER_DISCOVERY_PORT" /tmp/referral || fail "the referral leads elsewhere"
kill $listener
nvme disconnect -n nqn.2014-08.org.nvmexpress.discovery

step "two paths, one disk"
connect_to "$TARGET_PORT"
connect_to "$OTHER_PORT"
disk=$(namespace "$NQN" 1)
for port in "$TARGET_PORT" "$OTHER_PORT"; do
    wait_for 60 is_state "$port" live
    wait_for 60 is_ana "$port" optimized
done
[ "$(cat "/sys/class/nvme/$(path_by "$TARGET_PORT")/cntlid")" -lt 1000 ] || fail "cntlid"
[ "$(cat "/sys/class/nvme/$(path_by "$OTHER_PORT")/cntlid")" -ge 1000 ] || fail "cntlid"
nvme list-subsys "$disk" | tee /tmp/subsystem
equal "live, optimized paths" 2 "$(grep -c "live optimized" /tmp/subsystem)"

step "load"
blkdiscard -f -z -o 64M -l 16M "$disk"
block-journal run "$disk" /tmp/journal >/tmp/journal.log 2>&1 &
journal=$!
verify_until_stop() {
    while [ ! -e /tmp/stop ]; do
        fio --name=verify --filename="$disk" --offset=64m --size=16m --ioengine=libaio --direct=1 \
            --eta=never --rw=randrw --bsrange=4k-64k --iodepth=8 --verify=crc32c \
            --verify_fatal=1 --do_verify=1 --time_based --runtime=4 --output=/tmp/fio.log
    done
}
verify_until_stop &
fio=$!

step "I/O follows the ANA states"
host ana other non_optimized
wait_for 60 is_ana "$OTHER_PORT" non-optimized
wait_for 60 goes_by "$TARGET_PORT" "$OTHER_PORT"
host ana this inaccessible
wait_for 60 is_ana "$TARGET_PORT" inaccessible
wait_for 60 goes_by "$OTHER_PORT" "$TARGET_PORT"
nvme list-subsys "$disk" | tee /tmp/subsystem
grep -q "trsvcid=$TARGET_PORT.* live inaccessible" /tmp/subsystem || fail "nvme list-subsys"
grep -q "trsvcid=$OTHER_PORT.* live non-optimized" /tmp/subsystem || fail "nvme list-subsys"
nvme ana-log "/dev/$(path_by "$TARGET_PORT")"
host ana this optimized
wait_for 60 goes_by "$TARGET_PORT" "$OTHER_PORT"
host ana other optimized

for round in this other; do
    step "the target of the path in use is killed, and comes back: $round"
    [ $round = this ] && port=$TARGET_PORT survivor=$OTHER_PORT ||
        { port=$OTHER_PORT survivor=$TARGET_PORT; }
    host ana "$round" optimized
    before=$(ios_by "$survivor")
    host kill "$round"
    wait_for 60 eval "! is_state $port live"
    wait_for 60 eval "[ \$(ios_by $survivor) -gt $((before + 20)) ]"
    host start "$round"
    wait_for 120 is_state "$port" live
    wait_for 60 is_ana "$port" optimized
    wait_for 60 eval "[ \$(ios_by $port) -gt 0 ]"
done

step "the load ends without an error"
touch /tmp/stop
kill -TERM "$journal"
wait "$journal" || { cat /tmp/journal.log; fail "block-journal"; }
cat /tmp/journal.log
wait "$fio" || { cat /tmp/fio.log; fail "fio"; }
grep -E "^ *(read|write):|err=" /tmp/fio.log
drop_caches
block-journal check "$disk" /tmp/journal
disconnect "$NQN"
