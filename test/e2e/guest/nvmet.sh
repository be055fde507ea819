# What the cases use that have Linux's own target (nvmet) and basaltd in the guest. Sourced by them.

NVMET=/sys/kernel/config/nvmet

load_nvmet() {
    load nvmet
    load nvmet_tcp
    mount -t configfs configfs /sys/kernel/config
}

# nvmet_subsystem NQN: for all hosts.
nvmet_subsystem() {
    mkdir "$NVMET/subsystems/$1"
    echo 1 >"$NVMET/subsystems/$1/attr_allow_any_host"
}

# nvmet_namespace NQN PATH UUID [ATTRIBUTE=WORD]: namespace 1, on a device or a file.
nvmet_namespace() {
    made="$NVMET/subsystems/$1/namespaces/1"
    mkdir "$made"
    echo -n "$2" >"$made/device_path"
    echo -n "$3" >"$made/device_uuid"
    [ $# -lt 4 ] || echo "${4#*=}" >"$made/${4%%=*}"
    echo 1 >"$made/enable"
}

# nvmet_port NUMBER [ADDRESS]: port 4430 + NUMBER.
nvmet_port() {
    mkdir "$NVMET/ports/$1"
    nvmet_address "$NVMET/ports/$1" "$1" "${2:-127.0.0.1}"
}

# nvmet_address FOLDER NUMBER ADDRESS: of a port, or of a referral to one.
nvmet_address() {
    echo tcp >"$1/addr_trtype"
    echo ipv4 >"$1/addr_adrfam"
    echo "$3" >"$1/addr_traddr"
    echo $((4430 + $2)) >"$1/addr_trsvcid"
}

# listen_on NUMBER NQN: the port shows the subsystem; leave NUMBER NQN: no longer, and the
# connections to it end.
listen_on() {
    ln -s "$NVMET/subsystems/$2" "$NVMET/ports/$1/subsystems/"
}

leave() {
    rm "$NVMET/ports/$1/subsystems/$2"
}

# run_basaltd NAME [ARGUMENT...]: with the configuration NAME. Fails if it ends, having closed.
run_basaltd() {
    configuration=$1
    shift
    basaltd --json "/e2e/$configuration.json" -r /tmp/rpc.sock --cores 0 "$@" &
    daemon=$!
    wait_for 120 listens_or_ended
    kill -0 "$daemon"
}

listens_or_ended() {
    ! kill -0 "$daemon" || grep -q ":$(printf %04X "$TARGET_PORT") 00000000:0000 0A" /proc/net/tcp
}

end_basaltd() {
    kill -TERM "$daemon"
    wait "$daemon" || fail "basaltd ended with $?"
}
