#!/bin/bash
# Shared by the scripts of perf/: starting our daemon, waiting, numbers. Sourced, not run.

perf_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${PRESET:-release}
bin=${BIN:-$perf_root/build/$preset/bin}
nqn=nqn.2026-11.io.basalt:perf
port=${PORT:-4420}
work=$(mktemp -d)
daemon=
export perf_root port nqn work bin

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

need() {
    [ -x "$bin/$1" ] ||
        die "$bin/$1 is missing: cmake --preset $preset; cmake --build --preset $preset -t $1"
}

stop_daemon() {
    [ -n "$daemon" ] || return 0
    kill "$daemon" 2>/dev/null
    wait "$daemon" 2>/dev/null
    daemon=
}

# A configuration with one null device of 4 KiB blocks, 1 GiB; QPAIRS: I/O queues of a controller.
write_config() {
    cat > "$work/config.json" <<JSON
{"subsystems": [
  {"subsystem": "bdev", "config": [
    {"method": "bdev_null_create",
     "params": {"name": "Null0", "num_blocks": 262144, "block_size": 4096}}]},
  {"subsystem": "nvmf", "config": [
    {"method": "nvmf_create_transport",
     "params": {"trtype": "TCP", "max_io_qpairs_per_ctrlr": ${QPAIRS:-127}}},
    {"method": "nvmf_create_subsystem",
     "params": {"nqn": "$nqn", "serial_number": "PERF1", "allow_any_host": true}},
    {"method": "nvmf_subsystem_add_ns",
     "params": {"nqn": "$nqn", "namespace": {"nsid": 1, "bdev_name": "Null0"}}},
    {"method": "nvmf_subsystem_add_listener",
     "params": {"nqn": "$nqn", "listen_address":
       {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "$port"}}}]}]}
JSON
}

# start_daemon CORE POLL_MODE: returns when it listens.
start_daemon() {
    write_config
    "$bin/basaltd" --json "$work/config.json" -r "$work/rpc.sock" --cores "$1" --poll "$2" \
        > "$work/daemon.log" 2>&1 &
    daemon=$!
    for _ in $(seq 1000); do
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.01
    done
    cat "$work/daemon.log" >&2
    die "basaltd does not listen on port $port"
}

# CPU time of a process so far, in clock ticks.
cpu_ticks() {
    awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

finish() {
    stop_daemon
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
