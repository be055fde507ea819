# Commands beyond reading and writing, by hand, on blocks of 512 B and of 4 KiB; and two hosts of
# one subsystem: reservations, also over a power cut of the target, and namespaces that one sees.
# Environment: NQN with namespaces 1 (512 B, keeps reservations) and 2 (4 KiB).

HOST1=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000c1
HOST2=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000c2

# Native multipath would make one disk of what the two hosts see.
rmmod nvme_tcp nvme_fabrics nvme_core
insmod /e2e/modules/nvme_core.ko multipath=N
load nvme_tcp

# connect_as HOSTNQN: not by nvme-cli, which says "already connected" whoever it was.
connect_as() {
    echo "transport=tcp,traddr=$TARGET_ADDRESS,trsvcid=$TARGET_PORT,nqn=$NQN,hostnqn=$1,\
hostid=${1##*uuid:},nr_io_queues=1,ctrl_loss_tmo=600,reconnect_delay=1" >/dev/nvme-fabrics
}

# controller_of HOSTNQN: the name of its controller.
controller_of() {
    for path in /sys/class/nvme/nvme*; do
        if [ "$(cat "$path/hostnqn" 2>/dev/null)" = "$1" ]; then
            basename "$path"
            return 0
        fi
    done
    return 1
}

# disk_of HOSTNQN NSID: its block device of a namespace. Not nvme0nNSID: Linux numbers the disks of
# a controller as it meets them, and from 6.12 on it looks at several namespaces at once.
disk_of() {
    for path in /sys/block/"$(controller_of "$1")"n*; do
        if [ "$(cat "$path/nsid" 2>/dev/null)" = "$2" ] && [ -b "/dev/${path##*/}" ]; then
            echo "/dev/${path##*/}"
            return 0
        fi
    done
    return 1
}

is_live_as() {
    [ "$(cat "/sys/class/nvme/$(controller_of "$1")/state")" = live ]
}

for host in "$HOST1" "$HOST2"; do
    connect_as "$host"
    for nsid in 1 2; do
        wait_for 60 disk_of "$host" $nsid
    done
done
first=$(disk_of "$HOST1" 1)
second=$(disk_of "$HOST2" 1)

for disk in "$first" "$(disk_of "$HOST1" 2)"; do
    size=$(blockdev --getss "$disk")
    step "blocks of $size B: copy of two ranges, compare, verify, write zeroes"
    last=$((65536 / size - 1)) # 64 KiB, counted from 0.
    dd if=/dev/urandom of=/tmp/data bs=64k count=2 2>/dev/null
    dd if=/tmp/data of="$disk" bs=64k seek=1024 oflag=direct 2>/dev/null
    at=$(((64 << 20) / size))
    to=$(((80 << 20) / size))
    nvme copy "$disk" --sdlba=$to --slbs=$((at + last + 1)),$at --blocks=$last,$last
    for half in 0 1; do
        dd if="$disk" of=/tmp/copied bs=64k skip=$((1280 + half)) count=1 iflag=direct 2>/dev/null
        dd if=/tmp/data of=/tmp/source bs=64k skip=$((1 - half)) count=1 2>/dev/null
        cmp /tmp/copied /tmp/source || fail "half $half of what was copied differs"
    done
    refuses_with 0x080 nvme copy "$disk" --sdlba=$to \
        --slbs=$(($(blockdev --getsize64 "$disk") / size)) --blocks=0
    nvme compare "$disk" -s $((to + last + 1)) -c $last -z 65536 -d /tmp/source
    refuses_with 0x285 nvme compare "$disk" -s $to -c $last -z 65536 -d /tmp/source
    nvme verify "$disk" -s $to -c $last
    refuses_with 0x080 nvme verify "$disk" -s $(($(blockdev --getsize64 "$disk") / size)) -c 0
    nvme write-zeroes "$disk" -s $to -c $last
    nvme write-zeroes "$disk" -s $((to + last + 1)) -c $last --deac
    equal "what was zeroed" "$(dd if=/dev/zero bs=128k count=1 2>/dev/null | sha256sum)" \
        "$(dd if="$disk" bs=128k skip=640 count=1 iflag=direct 2>/dev/null | sha256sum)"
    equal "what lies behind" "$(sha256sum </tmp/data)" \
        "$(dd if="$disk" bs=128k skip=512 count=1 iflag=direct 2>/dev/null | sha256sum)"
done

# write_as DISK, read_as DISK: one block, by the command itself, so that its status is seen.
write_as() {
    nvme write "$1" -s 0 -c 0 -z 512 -d /tmp/data
}
read_as() {
    nvme read "$1" -s 0 -c 0 -z 512 -d /tmp/read
}

# reported NAME: a field of the reservation report.
reported() {
    nvme resv-report "$first" -e | field "$1"
}

step "reservations: two hosts register, each type does what it says"
nvme resv-register "$first" -r 0 -k 0x11
nvme resv-register "$second" -r 0 -k 0x22
equal "registrants" 2 "$(reported regctl)"
for type in 1 2 3 4 5 6; do
    nvme resv-acquire "$first" -a 0 -t $type -c 0x11
    equal "type" $type "$(reported rtype)"
    case $type in # 1: Write Exclusive, 2: Exclusive Access; the others let registrants in.
    1 | 2) refuses_with 0x083 write_as "$second" ;;
    *) write_as "$second" ;;
    esac
    if [ $type = 2 ]; then
        refuses_with 0x083 read_as "$second"
    else
        read_as "$second"
    fi
    write_as "$first"
    nvme resv-release "$first" -a 0 -t $type -c 0x11
done

step "reservations: who is not registered is kept out, and who is preempted"
nvme resv-register "$second" -r 1 -c 0x22
nvme resv-acquire "$first" -a 0 -t 4 -c 0x11
refuses_with 0x083 write_as "$second"
refuses_with 0x083 read_as "$second"
refuses_with 0x083 nvme resv-acquire "$second" -a 0 -t 4 -c 0x22
nvme resv-register "$second" -r 0 -k 0x33
nvme resv-acquire "$second" -a 1 -t 1 -c 0x33 -p 0x11
equal "type after preemption" 1 "$(reported rtype)"
equal "registrants after preemption" 1 "$(reported regctl)"
refuses_with 0x083 write_as "$first"
read_as "$first"
write_as "$second"
nvme resv-notif-log "/dev/$(controller_of "$HOST1")" | tee /tmp/notices
[ "$(field count </tmp/notices)" != 0 ] || fail "no notice of the preemption"

step "a reservation that is to persist does, when the target is killed"
nvme resv-register "$second" -r 2 -c 0x33 -k 0x44 -p 3
host kill-target
host start-target
for each in "$HOST1" "$HOST2"; do
    wait_for 120 is_live_as "$each"
done
equal "type" 1 "$(reported rtype)"
refuses_with 0x083 write_as "$first"
write_as "$second"
nvme resv-register "$first" -r 0 -k 0x55
nvme resv-acquire "$first" -a 2 -t 2 -c 0x55 -p 0x44
refuses_with 0x083 read_as "$second"
nvme resv-release "$first" -a 1 -c 0x55
equal "registrants after clear" 0 "$(reported regctl)"
write_as "$second"

step "namespaces that one host sees come and go, under I/O to another"
dd if="$first" of=/dev/null bs=64k count=100000 iflag=direct 2>/dev/null &
reader=$!
host add-hidden
refuses disk_of "$HOST1" 3
host show "$HOST1"
wait_for 60 disk_of "$HOST1" 3
dd if="$(disk_of "$HOST1" 3)" of=/dev/null bs=64k count=4 iflag=direct
nvme ns-rescan "/dev/$(controller_of "$HOST2")"
sleep 0.5
refuses disk_of "$HOST2" 3
refuses_with 0x00b nvme id-ns "/dev/$(controller_of "$HOST2")" -n 4000
host hide "$HOST1"
wait_for 60 eval "! disk_of '$HOST1' 3"
host show "$HOST2"
wait_for 60 disk_of "$HOST2" 3
refuses disk_of "$HOST1" 3
host remove-hidden
wait_for 60 eval "! disk_of '$HOST2' 3"
kill $reader 2>/dev/null || true
wait $reader || true

step "write protection, set by one host, is seen by the other"
nvme set-feature "/dev/$(controller_of "$HOST1")" -n 2 -f 0x84 -v 1
refuses_with 0x020 nvme write "$(disk_of "$HOST2" 2)" -s 0 -c 0 -z 4096 -d /tmp/data
nvme set-feature "/dev/$(controller_of "$HOST2")" -n 2 -f 0x84 -v 0
nvme write "$(disk_of "$HOST1" 2)" -s 0 -c 0 -z 4096 -d /tmp/data
nvme disconnect -n "$NQN"
