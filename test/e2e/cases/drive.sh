# basaltd runs in the guest, on QEMU's emulated NVMe drives (io_uring passthrough for real), and
# the guest's own kernel connects to it over loopback. What is written through NVMe/TCP has to be
# on the drive, and the other way round.
# Environment: NQN with namespaces 1 (drive "first", 512 B) and 2 (drive "second", 4 KiB blocks).

# drive SERIAL: block device of the drive itself.
drive() {
    for path in /sys/class/nvme/nvme*; do
        if [ "$(cat "$path/transport")" = pcie ] &&
            [ "$(tr -d ' ' <"$path/serial")" = "$1" ]; then
            echo "/dev/${path##*/}n1"
            return 0
        fi
    done
    return 1
}

listens_or_ended() {
    ! kill -0 "$daemon" || grep -q ":$(printf %04X "$TARGET_PORT") 00000000:0000 0A" /proc/net/tcp
}

load nvme
load ext4
wait_for 60 drive first
wait_for 60 drive second
first_drive=$(drive first)
second_drive=$(drive second)
wait_for 60 test -b "$first_drive" -a -b "$second_drive"
nvme ns-descs "$first_drive"
nvme ns-descs "$second_drive"

step "basaltd on both drives"
basaltd --json /e2e/config.json -r /tmp/rpc.sock --cores 0 &
daemon=$!
wait_for 120 listens_or_ended
kill -0 "$daemon" || fail "basaltd ended"

step "discovery on its own port, 8009"
nvme discover -t tcp -a "$TARGET_ADDRESS" | grep "^subnqn: *$NQN\$" || fail "not discovered"

for options in "" "-g -G"; do
    step "connect $options"
    # shellcheck disable=SC2086
    connect "$NQN" $options
    first=$(namespace "$NQN" 1)
    second=$(namespace "$NQN" 2)
    equal "block size of the first" 512 "$(blockdev --getss "$first")"
    equal "block size of the second" 4096 "$(blockdev --getss "$second")"
    equal "size" "$(blockdev --getsize64 "$first_drive")" "$(blockdev --getsize64 "$first")"

    step "fio with verification"
    fio_verify "$first" --bsrange=4k-64k --size=2m --iodepth=16
    fio_verify "$second" --bsrange=4k-1m --size=8m --iodepth=4
    equal "what the first drive holds" "$(checksum_region "$first" 64 2)" \
        "$(checksum_region "$first_drive" 64 2)"
    equal "what the second drive holds" "$(checksum_region "$second" 64 8)" \
        "$(checksum_region "$second_drive" 64 8)"

    if [ -z "$options" ]; then
        step "what is written to the drive is read over NVMe/TCP"
        dd if=/dev/urandom of="$second_drive" bs=1M seek=100 count=4 oflag=direct 2>/dev/null
        equal "what the host reads" "$(checksum_region "$second_drive" 100 4)" \
            "$(checksum_region "$second" 100 4)"

        step "write zeroes"
        for DEVICE in "$first" "$second"; do
            zeroed_between 200 blkdiscard -f -z -o 201M -l 2M "$DEVICE"
        done

        step "discard frees blocks: neighbours are unchanged"
        before=$(checksum_region "$first" 200 1)
        blkdiscard -f -o 201M -l 2M "$first"
        equal "what lies before" "$before" "$(checksum_region "$first" 200 1)"

        step "commands by hand"
        dd if=/dev/urandom of=/tmp/data bs=4096 count=1 2>/dev/null
        tr '\000-\377' '\001-\377\000' </tmp/data >/tmp/other
        nvme write "$first" -s 80 -c 7 -z 4096 -d /tmp/data --force-unit-access
        nvme flush "$first" -n 1
        if has compare; then
            nvme compare "$first" -s 80 -c 7 -z 4096 -d /tmp/data
            refuses_with 0x285 nvme compare "$first" -s 80 -c 7 -z 4096 -d /tmp/other
        fi
        nvme read "$first_drive" -s 80 -c 7 -z 4096 -d /tmp/read
        cmp /tmp/data /tmp/read || fail "the drive holds something else"
        nvme dsm "$first" -n 1 -d -s 96,1000 -b 8,8
        refuses_with 0x080 nvme read "$first" -s "$FIRST_BLOCKS" -c 0 -z 512 -d /tmp/beyond

        step "ext4"
        mkfs.ext4 -q -F "$second"
        mount "$second" /mnt
        dd if=/dev/urandom of=/mnt/big bs=1M count=4 2>/dev/null
        sum=$(sha256sum </mnt/big)
        drop_caches
        equal "checksum" "$sum" "$(sha256sum </mnt/big)"
        umount /mnt
        e2fsck -fn "$second_drive"
    fi
    disconnect "$NQN"
done

step "basaltd ends in order"
kill -TERM "$daemon"
wait "$daemon" || fail "basaltd ended with $?"
