# What a host stores is what it reads back: file systems, discard, write zeroes, commands by hand,
# fio with verification, digests. Environment: NQN with namespaces 1 (512 B) and 2 (4 KiB blocks).

# file_system MKFS_COMMAND...: made on a device, written, read past the cache, checked.
# FSCK is run on the unmounted device.
file_system() {
    device=$1
    shift
    "$@" "$device"
    mount "$device" /mnt
    dd if=/dev/urandom of=/mnt/big bs=1M count=8 2>/dev/null
    mkdir /mnt/small
    for number in $(seq 60); do
        echo "file $number" >"/mnt/small/$number"
    done
    (cd /mnt && find . -type f -exec sha256sum {} + >/tmp/sums)
    drop_caches
    (cd /mnt && sha256sum -c --quiet /tmp/sums) || fail "files differ after dropping caches"
    rm /mnt/small/*
    fstrim -v /mnt
    umount /mnt
    $FSCK "$device" || fail "$FSCK"
    mount "$device" /mnt
    (cd /mnt && grep big /tmp/sums | sha256sum -c --quiet) || fail "files differ after mounting"
    umount /mnt
}

load ext4
load xfs
connect "$NQN"
first=$(namespace "$NQN" 1)
second=$(namespace "$NQN" 2)

step "ext4 on the first namespace"
FSCK="e2fsck -fn" file_system "$first" mkfs.ext4 -q -F

step "xfs on the second namespace"
FSCK="xfs_repair -n" file_system "$second" mkfs.xfs -q -f

for DEVICE in "$first" "$second"; do
    queue=/sys/block/${DEVICE##*/}/queue
    [ "$(cat "$queue/discard_max_bytes")" -gt 0 ] || fail "the host sees no discard"
    [ "$(cat "$queue/write_zeroes_max_bytes")" -gt 0 ] || fail "the host sees no write zeroes"
    step "write zeroes and discard on $DEVICE"
    zeroed_between 200 blkdiscard -f -z -o 201M -l 2M "$DEVICE"
    zeroed_between 210 fallocate -z -o 211M -l 2M "$DEVICE"
    zeroed_between 220 fallocate -p -o 221M -l 2M "$DEVICE"
    dlfeat=$(nvme id-ns "$DEVICE" | field dlfeat)
    if [ $((dlfeat & 7)) -eq 1 ]; then
        zeroed_between 230 blkdiscard -f -o 231M -l 2M "$DEVICE"
    else
        echo "--- left out: what deallocated blocks read (dlfeat $dlfeat)"
        blkdiscard -f -o 231M -l 2M "$DEVICE"
    fi
done

step "commands by hand: write, read, compare, flush, write zeroes, deallocate"
dd if=/dev/urandom of=/tmp/data bs=4096 count=1 2>/dev/null
tr '\000-\377' '\001-\377\000' </tmp/data >/tmp/other
nvme write "$first" -s 80 -c 7 -z 4096 -d /tmp/data
nvme read "$first" -s 80 -c 7 -z 4096 -d /tmp/read
cmp /tmp/data /tmp/read || fail "read differs from what was written"
nvme write "$first" -s 96 -c 7 -z 4096 -d /tmp/data --force-unit-access
nvme flush "$first" -n 1
if has compare; then
    nvme compare "$first" -s 80 -c 7 -z 4096 -d /tmp/data
    refuses_with 0x285 nvme compare "$first" -s 80 -c 7 -z 4096 -d /tmp/other
fi
nvme write-zeroes "$first" -s 80 -c 7
nvme read "$first" -s 80 -c 7 -z 4096 -d /tmp/read
dd if=/dev/zero bs=4096 count=1 2>/dev/null | cmp - /tmp/read || fail "write zeroes left data"
nvme dsm "$first" -n 1 -d -s 96,1000 -b 8,8
refuses_with 0x080 nvme dsm "$first" -n 1 -d -s "$FIRST_BLOCKS" -b 8

step "fio with verification: small, up to 1 MiB, single blocks"
fio_verify "$first" --bsrange=4k-64k --size=8m --iodepth=16
fio_verify "$second" --bsrange=4k-1m --bs_unaligned=0 --size=24m --iodepth=4
fio_verify "$first" --bs=512 --size=128k --iodepth=32
disconnect "$NQN"

for options in "-g -G" "-g" "-G"; do
    step "digests: $options"
    # shellcheck disable=SC2086
    connect "$NQN" $options
    first=$(namespace "$NQN" 1)
    fio_verify "$first" --bsrange=4k-256k --size=6m --iodepth=8
    DEVICE=$first zeroed_between 240 blkdiscard -f -z -o 241M -l 2M "$first"
    disconnect "$NQN"
done
