# basaltd is the host of the kernel's own target, and finds out by itself what there is: discovery
# with referrals and events, paths that come and go, ANA states, digests, a network and a drive that
# fall silent. What it attaches it serves to the guest's kernel, where the load is; all three run in
# the guest. At the end basalt-perf loads nvmet.
# nvmet: port 1 at 127.0.0.1 and port 2 at 127.0.0.2 lead to NQN_BEHIND, whose namespace is a drive
# that can be suspended; port 3 leads to NQN_OTHER, a file, and tells of the others when it shall.
# Environment: NQN (what basaltd serves), NQN_BEHIND, UUID, a virtio drive, NQN_OTHER.

. /e2e/nvmet.sh
drive=/dev/vda
device=Disc1n1
rpc_port=5260

# rpc METHOD [PARAMETERS]: a call to basaltd; its answer. Fails if that is an error.
rpc() {
    echo "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":{${2-}}}" |
        nc 127.0.0.1 "$rpc_port" >/tmp/answer
    cat /tmp/answer
    ! grep -q '"error"' /tmp/answer
}

has_device() {
    rpc bdev_get_bdevs "\"name\":\"$1\""
}

# path_by NUMBER: what basaltd says of its path to the device by a port.
path_by() {
    rpc bdev_nvme_get_io_paths "\"name\":\"$device\"" | sed 's/{"bdev_name"/\n&/g' |
        grep "\"trsvcid\":\"$((4430 + $1))\""
}

# path_is NUMBER WORD, path_is_not NUMBER WORD: current, connected, accessible.
path_is() {
    path_by "$1" | grep -q "\"$2\":true"
}

path_is_not() {
    path_by "$1" | grep -q "\"$2\":false"
}

# ana NUMBER STATE: of the port.
ana() {
    echo "$2" >"$NVMET/ports/$1/ana_groups/1/ana_state"
}

# refer NUMBER ADDRESS: port 3 tells of that port's discovery from now on.
refer() {
    mkdir "$NVMET/ports/3/referrals/$1"
    nvmet_address "$NVMET/ports/3/referrals/$1" "$1" "$2"
    echo 1 >"$NVMET/ports/3/referrals/$1/enable"
}

# written: how many writes the drive has got.
written() {
    awk '{ print $5 }' "/sys/block/${drive##*/}/stat"
}

goes_on() {
    before=$(written)
    wait_for 60 eval "[ \$(written) -gt $((before + 20)) ]"
}

# times_lost WORDS: how often basaltd has lost a path for that reason.
times_lost() {
    grep -c "lost $NQN_BEHIND .*: $1" /tmp/basaltd.log || true
}

load_nvmet
load virtio_blk
load dm_mod
wait_for 60 test -b "$drive"
export DM_DISABLE_UDEV=1
trap 'cat /tmp/basaltd.log' EXIT

step "nvmet: a drive by two ports, and a file by a third"
dmsetup create held --table "0 $(blockdev --getsz "$drive") linear $drive 0"
dd if=/dev/urandom of=/tmp/file bs=1M count=8 2>/dev/null
nvmet_subsystem "$NQN_BEHIND"
nvmet_namespace "$NQN_BEHIND" /dev/dm-0 "$UUID"
nvmet_subsystem "$NQN_OTHER"
nvmet_namespace "$NQN_OTHER" /tmp/file 00000000-0000-4000-8000-0000000000bb buffered_io=1
nvmet_port 1
nvmet_port 2 127.0.0.2
nvmet_port 3
listen_on 1 "$NQN_BEHIND"
listen_on 2 "$NQN_BEHIND"
listen_on 3 "$NQN_OTHER"

step "discovery: what the controller itself names"
run_basaltd config --rpc-tcp "127.0.0.1:$rpc_port" 2>/tmp/basaltd.log || fail "basaltd ended"
rpc bdev_nvme_set_options '"timeout_us":3000000,"keep_alive_timeout_ms":2000,
    "reconnect_delay_sec":1,"ctrlr_loss_timeout_sec":-1'
rpc bdev_nvme_start_discovery '"name":"Disc","trtype":"tcp","adrfam":"ipv4","traddr":"127.0.0.1",
    "trsvcid":"4433","wait_for_attach":true'
has_device Disc0n1 || fail "what the discovery controller names is not there"
refuses has_device "$device"

step "a referral appears: its subsystem is there, and served"
refer 1 127.0.0.1
wait_for 60 has_device "$device"
rpc nvmf_subsystem_add_ns "\"nqn\":\"$NQN\",\"namespace\":{\"nsid\":1,\"bdev_name\":\"$device\"}"
connect "$NQN"
disk=$(namespace "$NQN" 1)
equal "size" "$(blockdev --getsize64 "$drive")" "$(blockdev --getsize64 "$disk")"
block-journal run "$disk" /tmp/journal >/tmp/journal.log 2>&1 &
journal=$!
goes_on

step "a second referral: a second path, under load from here on"
refer 2 127.0.0.2
wait_for 60 path_is 2 connected
path_is 1 current || fail "the path in use has changed"

step "I/O follows the ANA states"
ana 1 non-optimized
wait_for 60 path_is 2 current
goes_on
ana 2 inaccessible
wait_for 60 path_is_not 2 accessible
wait_for 60 path_is 1 current
goes_on
ana 1 change
wait_for 60 path_is_not 1 accessible
sleep 1
before=$(written)
sleep 1
equal "writes while no path may be used" "$before" "$(written)"
ana 2 optimized
wait_for 60 path_is 2 current
goes_on
ana 1 optimized
wait_for 60 path_is 1 accessible

step "a referral goes, and its path with it; it comes back"
rmdir "$NVMET/ports/3/referrals/2"
wait_for 60 eval "! path_by 2"
path_is 1 current || fail "no path in use"
goes_on
refer 2 127.0.0.2
wait_for 60 path_is 2 connected

step "the discovery controller goes, and comes back with less to tell"
leave 3 "$NQN_OTHER"
sleep 1
has_device "$device" || fail "what was discovered has gone with the discovery controller"
rmdir "$NVMET/ports/3/referrals/1"
listen_on 3 "$NQN_OTHER"
wait_for 60 eval "! path_by 1"
goes_on
refer 1 127.0.0.1
wait_for 60 path_is 1 connected

step "a controller is reset"
rpc bdev_nvme_reset_controller '"name":"Disc1"'
wait_for 60 path_is 1 connected
wait_for 60 path_is 2 connected
goes_on

step "the network swallows what goes to the path in use"
ana 1 non-optimized
wait_for 60 path_is 2 current
ip route add blackhole 127.0.0.2/32 table local
wait_for 60 path_is 1 current
goes_on
path_is_not 2 connected || fail "a silent path counts as connected"
ip route del blackhole 127.0.0.2/32 table local
wait_for 60 path_is 2 connected
goes_on

step "the drive falls silent: commands time out, and end well after it is back"
before=$(times_lost "timed out")
dmsetup suspend --noflush --nolockfs held
wait_for 60 eval "[ \$(times_lost 'timed out') -ge $((before + 2)) ]"
kill -0 "$journal" || { cat /tmp/journal.log; fail "I/O ended with an error"; }
dmsetup resume held
goes_on
for number in 1 2; do
    wait_for 60 path_is "$number" connected
done

step "the load ends without an error, and the drive holds what was acknowledged"
kill -TERM "$journal"
wait "$journal" || { cat /tmp/journal.log; fail "block-journal"; }
cat /tmp/journal.log
block-journal check "$disk" /tmp/journal
block-journal check "$drive" /tmp/journal

step "discovery ends; the same with digests"
refuses rpc bdev_nvme_stop_discovery '"name":"Disc"'
rpc nvmf_subsystem_remove_ns "\"nqn\":\"$NQN\",\"nsid\":1"
rpc bdev_nvme_stop_discovery '"name":"Disc"'
refuses has_device "$device"
rpc bdev_nvme_attach_controller "\"name\":\"Dig\",\"trtype\":\"tcp\",\"adrfam\":\"ipv4\",
    \"traddr\":\"127.0.0.1\",\"trsvcid\":\"4431\",\"subnqn\":\"$NQN_BEHIND\",
    \"hdgst\":true,\"ddgst\":true"
rpc nvmf_subsystem_add_ns "\"nqn\":\"$NQN\",\"namespace\":{\"nsid\":1,\"bdev_name\":\"Dign1\"}"
disk=$(namespace "$NQN" 1)
fio_verify "$disk" --bsrange=4k-128k --size=4m --iodepth=16
disconnect "$NQN"
end_basaltd

step "basalt-perf verifies, with digests and without"
perf() {
    basalt-perf -a 127.0.0.1 -p 4431 -n "$NQN_BEHIND" --adaptive --warmup 0 --range 8m --verify "$@"
}
perf --rw randrw --qd 16 --time 2 --header-digest --data-digest
perf --rw randrw --qd 4 --time 2 --io-size 128k --connections 2 --header-digest --data-digest
perf --rw write --qd 8 --time 1 --io-size 64k --no-sq-flow-control
