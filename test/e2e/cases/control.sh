# What an administrator does with nvme-cli: discover, connect, list, identify, log pages; who is
# let in; several namespaces and queues; keep alive; namespaces that come and go under a host.
# Environment: NQN (open, namespaces 1 and 2), NQN_PRIVATE (for HOST_ALLOWED only).

OTHER_HOST="-q nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000bb
            -I 00000000-0000-4000-8000-0000000000bb"
ALLOWED_HOST="-q $HOST_ALLOWED -I 00000000-0000-4000-8000-0000000000aa"

discover() {
    # shellcheck disable=SC2086 # options, to be split
    nvme discover -t tcp -a "$1" -s "$2" $3 >/tmp/discovery || fail "discover at $1 port $2"
    cat /tmp/discovery
}

listed() {
    grep -q "^subnqn: *$1\$" /tmp/discovery
}

step "discovery on the discovery port and on the I/O port"
for port in "$DISCOVERY_PORT" "$TARGET_PORT"; do
    discover "$TARGET_ADDRESS" "$port" ""
    listed "$NQN" || fail "$NQN is not in the discovery log of port $port"
    grep -q "^trtype: *tcp" /tmp/discovery || fail "no trtype in the discovery log"
done

step "a subsystem with allowed hosts is shown to them only"
discover "$TARGET_ADDRESS" "$DISCOVERY_PORT" "$OTHER_HOST"
refuses listed "$NQN_PRIVATE"
discover "$TARGET_ADDRESS" "$DISCOVERY_PORT" "$ALLOWED_HOST"
listed "$NQN_PRIVATE" || fail "$NQN_PRIVATE is hidden from its host"

step "a host that is not allowed is refused"
# shellcheck disable=SC2086
refuses nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$TARGET_PORT" -n "$NQN_PRIVATE" $OTHER_HOST
refuses nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$TARGET_PORT" -n "$NQN-unknown"

step "the allowed host is accepted"
# shellcheck disable=SC2086
connect "$NQN_PRIVATE" $ALLOWED_HOST
private=$(namespace "$NQN_PRIVATE" 1)
dd if="$private" of=/dev/null bs=64k count=16 iflag=direct
disconnect "$NQN_PRIVATE"

step "connect with four I/O queues"
connect "$NQN" -i 4 -k 2
name=$(controller "$NQN")
first=$(namespace "$NQN" 1)
second=$(namespace "$NQN" 2)
equal "queues, the admin queue among them" 5 "$(cat "/sys/class/nvme/$name/queue_count")"
for cpu in 0 1 2 3; do
    taskset -c "$cpu" dd if="$first" of=/dev/null bs=4k count=8 skip=$((cpu * 8)) iflag=direct
done

step "list and identify"
nvme list
nvme list -o json | grep -q "\"DevicePath\" *: *\"$first\"" || fail "nvme list lacks $first"
nvme list-subsys
equal "listed namespaces" 2 "$(nvme list-ns "/dev/$name" | wc -l)"
nvme id-ctrl "/dev/$name" >/tmp/controller
equal "subnqn" "$NQN" "$(field subnqn </tmp/controller)"
[ "$(field cntlid </tmp/controller)" != 0 ] || fail "controller id 0"
nvme id-ns "$first" >/tmp/first
equal "size of the first, in blocks" "$(printf '0x%x' "$FIRST_BLOCKS")" "$(field nsze </tmp/first)"
equal "size of the first, as the kernel sees it" $((FIRST_BLOCKS * 512)) \
    "$(blockdev --getsize64 "$first")"
equal "block size of the first" 512 "$(blockdev --getss "$first")"
equal "block size of the second" 4096 "$(blockdev --getss "$second")"
nvme ns-descs "$first" | tee /tmp/descriptors
grep -q -E "(uuid|nguid) *: *[0-9a-f-]*[1-9a-f]" /tmp/descriptors || fail "namespace without an id"

step "properties, features and log pages"
for offset in 0x0 0x8 0x14 0x1c; do # CAP, VS, CC, CSTS
    nvme get-property "/dev/$name" -o $offset
done
nvme get-feature -f 7 "/dev/$name"
nvme get-feature -f 0x0f "/dev/$name"
nvme smart-log "/dev/$name" | head -n 4
nvme error-log -e 1 "/dev/$name" >/dev/null
nvme fw-log "/dev/$name" >/dev/null
nvme effects-log "/dev/$name" >/dev/null
nvme changed-ns-list-log "/dev/$name" >/dev/null

step "an invalid command fails and harms nothing"
refuses_with 0x001 nvme admin-passthru "/dev/$name" --opcode=0xc7
refuses_with 0x001 nvme io-passthru "$first" --opcode=0x6f --namespace-id=1
refuses_with 0x080 nvme read "$first" -s "$FIRST_BLOCKS" -c 0 -z 512 -d /tmp/beyond
dd if="$first" of=/dev/null bs=4k count=1 iflag=direct

step "idle longer than the keep alive time-out of 2 s"
sleep 6
is_live "$NQN" || fail "controller is no longer live"
refuses eval 'dmesg | grep -i "keep-alive"'

if has hotplug; then
    step "a namespace that is added is seen, and one that is removed is gone"
    host add-namespace
    third=$(namespace "$NQN" 3)
    dd if=/dev/urandom of="$third" bs=64k count=16 oflag=direct
    host remove-namespace
    wait_for 60 eval '! find_namespace "$NQN" 3'
    dd if="$first" of=/dev/null bs=4k count=1 iflag=direct
fi

step "reset and rescan by the administrator"
nvme reset "/dev/$name"
wait_for 60 is_live "$NQN"
nvme ns-rescan "/dev/$name"
dd if="$first" of=/dev/null bs=4k count=1 iflag=direct

step "disconnect"
disconnect "$NQN"
[ ! -b "$first" ] || fail "$first is still there"

if [ -n "$TARGET_ADDRESS6" ]; then
    step "the same over IPv6"
    discover "$TARGET_ADDRESS6" "$DISCOVERY_PORT" ""
    TARGET_ADDRESS=$TARGET_ADDRESS6 connect "$NQN"
    dd if="$(namespace "$NQN" 1)" of=/dev/null bs=64k count=16 iflag=direct
    disconnect "$NQN"
else
    echo "--- left out: IPv6"
fi
