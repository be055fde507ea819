# What guest scripts use. Sourced by init (for `load`) and by every script (dash -eu).

# step WORDS: a heading in the log, so that a failure is found by the last one.
step() {
    echo "=== [$(cut -d' ' -f1 /proc/uptime)] $*"
}

# fail WORDS: ends the script; init reports the exit code.
fail() {
    echo "FAIL: $*"
    exit 1
}

# load MODULE: with what it depends on, unless loaded. Built into the kernel: nothing to do.
load() {
    for name in $(sed -n "s/^$1: *//p" /e2e/modules/order); do
        [ -d "/sys/module/$name" ] || insmod "/e2e/modules/$name.ko" || echo "insmod $name failed"
    done
}

# host REQUEST: asks the test on the host to do something, and waits until it has.
host() {
    echo "HOST: $*" >&3
    read -r answer <&3
    [ "$answer" = "done" ] || fail "host could not $*: $answer"
}

# refuses COMMAND...: the command has to fail (its output goes to the log).
refuses() {
    if "$@"; then
        fail "should have been refused: $*"
    fi
}

# refuses_with STATUS COMMAND...: an nvme-cli command has to fail, with the NVMe status whose type
# and code are STATUS: 0x080 is "LBA out of range" (Base Specification 2.0, 3.3.3.2.1).
refuses_with() {
    status=$1
    shift
    "$@" >/tmp/refusal 2>&1 && fail "should have been refused: $*"
    cat /tmp/refusal
    if has statuses; then
        # Without the bits "more", "do not retry" and the retry delay.
        found=$(($(sed -n 's/.*(\(0x[0-9a-f]*\)).*/\1/p' /tmp/refusal | head -n 1) & 0x7ff))
        equal "status of: $*" $((status)) "$found"
    fi
}

# wait_for SECONDS COMMAND...: until the command succeeds. Generous by intent: guests are slow.
wait_for() {
    left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "waited in vain for: $*"
        sleep 0.1
    done
}

# equal WHAT EXPECTED ACTUAL
equal() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# drop_caches: what is read next comes from the device.
drop_caches() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

# shielded COMMAND... &: without SIGPIPE, in the background only. Linux sends to an NVMe/TCP target
# from within the process that does the I/O, and without MSG_NOSIGNAL: if the target has just gone,
# the kernel kills that process, though its I/O only waits for the next connection.
shielded() {
    trap '' PIPE
    exec "$@"
}

# connect NQN [OPTION...]: nvme connect over TCP, waiting until the controller is live.
connect() {
    nqn=$1
    shift
    nvme connect -t tcp -a "$TARGET_ADDRESS" -s "$TARGET_PORT" -n "$nqn" "$@"
    wait_for 60 is_live "$nqn"
}

# controller NQN: its name (nvme0), the first if there are several.
controller() {
    for path in /sys/class/nvme/nvme*; do
        if [ "$(cat "$path/subsysnqn" 2>/dev/null)" = "$1" ]; then
            basename "$path"
            return 0
        fi
    done
    return 1
}

is_live() {
    name=$(controller "$1") && [ "$(cat "/sys/class/nvme/$name/state")" = "live" ]
}

# namespace NQN NSID: its block device, as soon as it is there. With native multipath the disk
# belongs to the subsystem; nvme0c0n1 is a hidden path of it.
namespace() {
    wait_for 60 find_namespace "$1" "$2"
    find_namespace "$1" "$2"
}

find_namespace() {
    for path in /sys/block/nvme*; do
        case ${path##*/} in *c*n*) continue ;; esac
        if [ "$(cat "$path/device/subsysnqn")" = "$1" ] && [ "$(cat "$path/nsid")" = "$2" ] &&
            [ -b "/dev/${path##*/}" ]; then
            echo "/dev/${path##*/}"
            return 0
        fi
    done 2>/dev/null
    return 1
}

# disconnect NQN: and wait until its disks are gone.
disconnect() {
    nvme disconnect -n "$1"
    wait_for 60 eval "! controller '$1'"
}

# field NAME: a number from the `name : value` output of nvme-cli on stdin.
field() {
    sed -n "s/^$1 *: *\([^ ]*\).*/\1/p" | head -n 1
}

# checksum_region DEVICE FIRST_MIB COUNT_MIB: of what the device holds, past all caches.
checksum_region() {
    dd if="$1" bs=1M skip="$2" count="$3" iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1
}

# checksum_zeroes COUNT_MIB
checksum_zeroes() {
    dd if=/dev/zero bs=1M count="$1" 2>/dev/null | sha256sum | cut -d' ' -f1
}

# has FEATURE: true if the target has it; otherwise says what is left out.
has() {
    case " $FEATURES " in
    *" $1 "*) return 0 ;;
    esac
    echo "--- left out: the target has no $1"
    return 1
}

# fio_verify DEVICE OPTION...: zeroes the area (so that no older valid block is there to be found),
# writes it at random and verifies every block's checksum.
fio_verify() {
    fio_device=$1
    shift
    blkdiscard -f -z -o 64M -l 64M "$fio_device"
    fio --name=verify --filename="$fio_device" --offset=64m --ioengine=libaio --direct=1 \
        --eta=never --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 \
        --output-format=terse --output=/tmp/fio.out "$@" || { cat /tmp/fio.out; fail fio; }
}

# zeroed_between MIB COMMAND...: 4 MiB of random data at MIB of $DEVICE, the command on the middle
# 2 MiB: these read as zeroes, what lies before and after is unchanged.
zeroed_between() {
    at=$1
    shift
    dd if=/dev/urandom of="$DEVICE" bs=1M seek="$at" count=4 oflag=direct 2>/dev/null
    before=$(checksum_region "$DEVICE" "$at" 1)
    after=$(checksum_region "$DEVICE" $((at + 3)) 1)
    "$@"
    equal "zeroes after: $*" "$(checksum_zeroes 2)" "$(checksum_region "$DEVICE" $((at + 1)) 2)"
    equal "what lies before" "$before" "$(checksum_region "$DEVICE" "$at" 1)"
    equal "what lies after" "$after" "$(checksum_region "$DEVICE" $((at + 3)) 1)"
}
