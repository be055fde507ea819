# basaltd is the host: it attaches a namespace of the kernel's own target, by two paths, and serves
# it to the guest's kernel. All three run in the guest. What is written at the one end has to be at
# the other, and a path that goes must not be noticed.
# At the end nvmet wants basaltd to prove itself with DH-HMAC-CHAP.
# Environment: NQN (what basaltd serves), NQN_BEHIND (what nvmet serves), UUID, a virtio drive,
# HOST_ALLOWED (what basaltd says it is, which has SECRET), CONTROLLER_SECRET, OTHER_SECRET.

. /e2e/nvmet.sh
drive=/dev/vda

# is_connected_to PORT: somebody has a connection there.
is_connected_to() {
    grep -q ":$(printf %04X "$1") 01 " /proc/net/tcp
}

# wants_proof NAME WORD: an attribute of the host in nvmet.
wants_proof() {
    echo "$2" >"$NVMET/hosts/$HOST_ALLOWED/dhchap_$1"
}

load_nvmet
load virtio_blk
load ext4
wait_for 60 test -b "$drive"

step "nvmet on the drive, two ports"
nvmet_subsystem "$NQN_BEHIND"
nvmet_namespace "$NQN_BEHIND" "$drive" "$UUID"
for number in 1 2; do
    nvmet_port "$number"
    listen_on "$number" "$NQN_BEHIND"
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
    leave "$number" "$NQN_BEHIND"
    sleep 1
    listen_on "$number" "$NQN_BEHIND"
    wait_for 60 is_connected_to $((4430 + number))
done
wait "$fio" || { cat /tmp/fio.out; fail "fio"; }

step "both paths go: I/O waits"
leave 1 "$NQN_BEHIND"
leave 2 "$NQN_BEHIND"
dd if=/tmp/data of="$disk" bs=4096 seek=12 oflag=direct 2>/dev/null &
writer=$!
sleep 2
kill -0 "$writer" || fail "a write without a path did not wait"
listen_on 1 "$NQN_BEHIND"
wait "$writer" || fail "a write that waited has failed"
dd if="$drive" of=/tmp/read bs=4096 skip=12 count=1 iflag=direct 2>/dev/null
cmp /tmp/data /tmp/read || fail "what waited was not written"
listen_on 2 "$NQN_BEHIND"

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

mkdir "$NVMET/hosts/$HOST_ALLOWED"
if ! [ -e "$NVMET/hosts/$HOST_ALLOWED/dhchap_key" ]; then
    echo "this kernel's nvmet can't authenticate hosts"
    exit 0
fi

step "nvmet wants a proof: without a secret, or with a wrong one, basaltd gets nothing"
echo 0 >"$NVMET/subsystems/$NQN_BEHIND/attr_allow_any_host"
ln -s "$NVMET/hosts/$HOST_ALLOWED" "$NVMET/subsystems/$NQN_BEHIND/allowed_hosts/"
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
    leave "$number" "$NQN_BEHIND"
    sleep 1
    listen_on "$number" "$NQN_BEHIND"
    wait_for 60 is_connected_to $((4430 + number))
done
fio_verify "$disk" --bsrange=4k-128k --size=4m --iodepth=8
disconnect "$NQN"
end_basaltd
