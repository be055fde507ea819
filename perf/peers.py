"""Our daemon and SPDK's nvmf_tgt as processes to be measured, and the clients that load them."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SPDK_NQN = "nqn.2016-06.io.spdk:cnode1"
OUR_NQN = "nqn.2026-11.io.basalt:perf"
QUEUES_OF_A_CLIENT = 120  # Both targets grant 127 I/O queues to a controller.


class Failure(Exception):
    """Something that the person at the keyboard must mend."""


class Target:
    """A target process: ours or SPDK's. Stopped (SIGSTOP) whenever it is not being measured."""

    _ports = itertools.count(5520)

    def __init__(self, name, args, work, prefix=()):
        self.name, self.args, self.work, self.prefix = name, args, Path(work), list(prefix)
        self.port = next(self._ports)
        self.sock = str(self.work / f"{name}-{self.port}.sock")
        self.process = None

    def start(self):
        log = open(self.work / f"{self.name}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(self.prefix + self.command(), stdout=log, stderr=log)
        patience = 180 if self.prefix else 30
        self.wait_for(self.takes_calls, patience)
        self.set_up()
        self.wait_for(self.is_listening, patience)

    def wait_for(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{self.name} does not start: {self.last_words()}")
            time.sleep(0.05)

    def last_words(self):
        text = (self.work / f"{self.name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-4:])

    def takes_calls(self):
        # The socket's file is there some time before it is listened on; under valgrind, seconds.
        with socket.socket(socket.AF_UNIX) as line:
            return line.connect_ex(self.sock) == 0

    def is_listening(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        except OSError:
            return False

    def rpc(self, method, **params):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(120)
            line.connect(self.sock)
            line.sendall(json.dumps(request).encode())
            text = b""
            while True:
                text += line.recv(65536)
                try:
                    answer = json.loads(text)
                    break
                except json.JSONDecodeError:
                    continue
        if "error" in answer:
            raise Failure(f"{self.name}: {method}: {answer['error']}")
        return answer["result"]

    def ios(self):
        stat = self.rpc("bdev_get_iostat")["bdevs"][0]
        return stat["num_read_ops"] + stat["num_write_ops"]

    def add_volume(self):
        self.rpc("bdev_null_create", name="Null0", num_blocks=262144, block_size=4096)
        self.rpc("nvmf_create_subsystem", nqn=self.nqn, serial_number="PERF1", allow_any_host=True)
        self.rpc("nvmf_subsystem_add_ns", nqn=self.nqn, namespace={"bdev_name": "Null0"})
        self.rpc("nvmf_subsystem_add_listener", nqn=self.nqn, listen_address={
            "trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(self.port)})

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


class Basalt(Target):
    """Our daemon."""

    nqn = OUR_NQN

    def command(self):
        return [str(self.args.bin / "basaltd"), "-r", self.sock, "--cores", str(self.args.core),
                "--poll", "busy"]

    def set_up(self):
        self.rpc("nvmf_create_transport", trtype="TCP")
        self.add_volume()


class Spdk(Target):
    """SPDK's nvmf_tgt. Without huge pages its memory counts as resident."""

    nqn = SPDK_NQN

    def __init__(self, name, args, work, impl="posix", obeys=False, tree=None, megabytes=512,
                 prefix=()):
        super().__init__(name, args, work, prefix)
        self.impl, self.obeys, self.megabytes = impl, obeys, megabytes
        self.tree = tree or args.spdk

    def command(self):
        return [str(self.tree / "build/bin/nvmf_tgt"), "-m", hex(1 << self.args.core),
                "-r", self.sock, "--wait-for-rpc", "--no-pci", "--disable-cpumask-locks",
                "--no-huge", "-s", str(self.megabytes)]

    def set_up(self):
        self.rpc("sock_set_default_impl", impl_name=self.impl)
        self.rpc("framework_start_init")
        self.rpc("nvmf_create_transport", trtype="TCP", c2h_success=not self.obeys)
        self.add_volume()


class Clients:
    """Puts load on a target, from the client's core."""

    def __init__(self, args, work):
        self.args, self.work = args, Path(work)

    def command(self, target, *options):
        return [str(self.args.bin / "basalt-perf"), "-p", str(target.port), "-n", target.nqn,
                "--cores", str(self.args.client_core), *options]

    def basalt_perf(self, target, rw, depth, *options, seconds=None, warmup=0.3):
        """(IOPS, median latency in us)"""
        result = self.work / "run.json"
        done = subprocess.run(
            self.command(target, "--rw", rw, "--qd", str(depth), "--warmup", str(warmup),
                         "--time", str(seconds or self.args.seconds), "--json", str(result),
                         *options),
            capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Failure(f"basalt-perf against {target.name}: {done.stderr or done.stdout}")
        run = json.loads(result.read_text())
        side = run["read"] if run["read"]["ios"] else run["write"]
        return side["iops"], side["latency_us"]["p50"]

    def spdk_perf(self, target, rw, depth):
        done = subprocess.run(
            [str(self.args.spdk / "build/bin/spdk_nvme_perf"), "-q", str(depth), "-o", "4096",
             "-w", rw, "-t", str(max(1, round(self.args.seconds))), "-L",
             "-c", hex(1 << self.args.client_core), "-S", "posix", "--no-huge", "-s", "512",
             "-r", f"trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{target.port} "
                   f"subnqn:{target.nqn} "
                   "hostnqn:nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555"],
            capture_output=True, text=True, timeout=120, check=False)
        iops = re.search(r"^Total\s*:\s*([\d.]+)", done.stdout, re.M)
        p50 = re.search(r"^\s*50\.00000%\s*:\s*([\d.]+)us", done.stdout, re.M)
        if not iops or not p50:
            raise Failure(f"spdk_nvme_perf against {target.name}: "
                          f"{done.stdout[-400:]}{done.stderr}")
        return float(iops.group(1)), float(p50.group(1))

    def start(self, target, *options):
        return subprocess.Popen(self.command(target, *options), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def idle(self, target, count):
        """Processes that hold `count` idle queue pairs of depth 128 against the target."""
        before = established(target.port)
        held = []
        while count > 0:
            part = min(count, QUEUES_OF_A_CLIENT)
            # Depth 127 is a queue of 128 entries.
            held.append(self.start(target, "--idle", "--adaptive", "--connections", str(part),
                                   "--qd", "127", "--time", "600"))
            count -= part
            before += part + 1  # And an admin queue.
            end = time.monotonic() + 60
            while established(target.port) < before:
                if held[-1].poll() is not None or time.monotonic() > end:
                    raise Failure(f"no idle queues with {target.name}")
                time.sleep(0.1)
        time.sleep(1)
        return held


def established(port):
    """Connections that end at the port."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(1 for row in map(str.split, rows)
               if row[3] == "01" and int(row[1].split(":")[1], 16) == port)


def end_all(processes):
    for process in processes:
        process.kill()
        process.wait()


def interleave(targets, runs, measure):
    """{name: [measure(target), ...]}, the targets taking turns."""
    results = {target.name: [] for target in targets}
    for _ in range(runs):
        for target in targets:
            target.resume()
            try:
                results[target.name].append(measure(target))
            finally:
                target.pause()
    return results


def come_forward():
    """Builds and tests that go on meanwhile disturb less: a scheduling group of our own, in
    front."""
    if os.getsid(0) != os.getpid():
        child = os.fork()  # The leader of a process group may not begin a session.
        if child != 0:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.setsid()
    try:
        Path("/proc/self/autogroup").write_text("-20", encoding="ascii")
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError as error:
        print(f"without priority: {error}", file=sys.stderr)
