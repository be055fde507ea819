"""The NVMe/TCP targets that the end-to-end tests run against.

A test says what it wants exported (Subsystem, Namespace) and gets a Target with start, kill and
stop. BasaltTarget is what is tested. NvmetTarget is the Linux kernel's own target in a second
guest: it shows that a test asks for nothing but what a good target does.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid

from guest import HERE, start_child

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
# QEMU's user network shows the host's loopback to guests at these addresses.
GUEST_VIEW_IPV4 = "10.0.2.2"
GUEST_VIEW_IPV6 = "fec0::2"
READY_TIMEOUT_S = 120


@dataclasses.dataclass
class Namespace:
    """A file exported as namespace `nsid`.

    `uuid` is given, as in a saved configuration: a host that reconnects and finds another id
    under the same number takes the namespace away from whoever uses it.
    """
    nsid: int
    path: pathlib.Path
    block_bytes: int = 512
    uuid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    # More parameters of nvmf_subsystem_add_ns.
    options: dict = dataclasses.field(default_factory=dict)

    def bdev_name(self):
        """Name of the block device that the namespace is made of."""
        return self.path.stem

    def bdev_calls(self):
        """The calls that make the block device, as a saved configuration has them."""
        return [{"method": "bdev_aio_create", "params": {
            "filename": str(self.path), "name": self.bdev_name(),
            "block_size": self.block_bytes}}]


@dataclasses.dataclass
class DriveNamespace(Namespace):
    """An NVMe drive of the machine that the daemon runs on, found by what it says of itself."""
    identity: dict = None

    def bdev_calls(self):
        return [{"method": "bdev_nvme_attach_passthrough",
                 "params": {"name": self.bdev_name(), **self.identity}}]


@dataclasses.dataclass
class PoolNamespace(Namespace):
    """A volume or snapshot of the pool that is on the file or block device `path`."""
    volume: str = "pool0/volume"

    def bdev_name(self):
        return self.volume

    def bdev_calls(self):
        # The pool opens with the first device that is made of the file; a second can't be made.
        return [] if self.nsid > 1 else [{"method": "bdev_aio_create", "params": {
            "filename": str(self.path), "name": "disk0", "block_size": 4096}}]


@dataclasses.dataclass
class RemoteNamespace(Namespace):
    """A namespace of another target on the machine that the daemon runs on, by all its ports.
    `attach_options`: of bdev_nvme_attach_controller."""
    nqn: str = ""
    ports: tuple = ()
    attach_options: dict = dataclasses.field(default_factory=dict)

    def bdev_name(self):
        return f"Nvme0n{self.nsid}"

    def bdev_calls(self):
        return [{"method": "bdev_nvme_attach_controller", "params": {
            "name": "Nvme0", "trtype": "tcp", "adrfam": "ipv4", "traddr": "127.0.0.1",
            "trsvcid": str(port), "subnqn": self.nqn, "ctrlr_loss_timeout_sec": -1,
            "reconnect_delay_sec": 1, **self.attach_options}} for port in self.ports]


@dataclasses.dataclass
class Subsystem:
    """`allowed_hosts`: NQNs; None lets every host in. `options`: of nvmf_create_subsystem."""
    nqn: str
    namespaces: list
    allowed_hosts: list = None
    options: dict = dataclasses.field(default_factory=dict)


def saved_configuration(subsystems, port, discovery_port, addresses, keys=None, calls=()):
    """A configuration for basaltd --json, in SPDK's layout. `keys`: the paths of files by name.
    `calls`: about devices, after those that make the namespaces' own."""
    nvmf = [{"method": "nvmf_create_transport", "params": {"trtype": "TCP"}}]
    for number, subsystem in enumerate(subsystems):
        nvmf.append({"method": "nvmf_create_subsystem", "params": {
            "nqn": subsystem.nqn, "serial_number": f"E2E{number}",
            "model_number": "Basalt end-to-end", "max_namespaces": 32,
            "allow_any_host": subsystem.allowed_hosts is None, **subsystem.options}})
        nvmf += [{"method": "nvmf_subsystem_add_host",
                  "params": {"nqn": subsystem.nqn, "host": host}}
                 for host in subsystem.allowed_hosts or []]
        nvmf += [namespace_call(subsystem, namespace) for namespace in subsystem.namespaces]
        nvmf += listener_calls(subsystem.nqn, port, addresses)
    nvmf += listener_calls(DISCOVERY_NQN, discovery_port, addresses)
    bdevs = [call for subsystem in subsystems for namespace in subsystem.namespaces
             for call in namespace.bdev_calls()]
    keyring = [{"method": "keyring_file_add_key", "params": {"name": name, "path": path}}
               for name, path in (keys or {}).items()]
    return {"subsystems": [{"subsystem": "keyring", "config": keyring},
                           {"subsystem": "bdev", "config": bdevs + list(calls)},
                           {"subsystem": "nvmf", "config": nvmf}]}


def namespace_call(subsystem, namespace):
    """The call that adds a namespace to its subsystem."""
    return {"method": "nvmf_subsystem_add_ns", "params": {
        "nqn": subsystem.nqn, "namespace": {
            "nsid": namespace.nsid, "bdev_name": namespace.bdev_name(), "uuid": namespace.uuid,
            "nguid": namespace.uuid.replace("-", "").upper(), **namespace.options}}}


def listener_calls(nqn, port, addresses):
    """The calls that let a subsystem be reached at `port` of each address."""
    return [{"method": "nvmf_subsystem_add_listener", "params": {
        "nqn": nqn, "listen_address": {
            "trtype": "TCP", "adrfam": "IPv6" if ":" in address else "IPv4",
            "traddr": address, "trsvcid": str(port)}}} for address in addresses]


class TargetFailure(Exception):
    """The target did not start, or ended on its own."""


def make_pool(folder, program, path, *, size_mib, volume_mib):
    """A pool "pool0" in a new file, with an empty volume "volume" of 512-byte blocks."""
    make_image(path, size_mib)
    target = BasaltTarget(folder, [Subsystem("nqn.2026-01.io.basalt:maker", [])], program)
    target.start()
    try:
        target.call("bdev_aio_create", {"filename": str(path), "name": "disk0",
                                        "block_size": 4096})
        target.call("bdev_lvol_create_lvstore", {"bdev_name": "disk0", "lvs_name": "pool0"})
        target.call("bdev_lvol_create", {"lvol_name": "volume", "lvs_name": "pool0",
                                         "size_in_mib": volume_mib, "block_size": 512})
    finally:
        target.stop()


def check_pool(target):
    """Raises TargetFailure unless the tables of the target's pool are in order."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            report = target.call("bdev_store_check", {"lvs_name": "pool0"})
            break
        except TargetFailure as failure:
            # While what was deleted is given back, in the background.
            if "in use" not in str(failure) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    if not report["clean"]:
        raise TargetFailure(f"the pool is not in order: {report}")


def make_image(path, size_mib):
    """A sparse file full of zeroes."""
    with open(path, "wb") as image:
        image.truncate(size_mib << 20)
    return path


def free_port():
    """A TCP port that nobody listens on, on 127.0.0.1 and ::1."""
    while True:
        with socket.socket(socket.AF_INET) as ipv4:
            ipv4.bind(("127.0.0.1", 0))
            port = ipv4.getsockname()[1]
            if not has_ipv6():
                return port
            with socket.socket(socket.AF_INET6) as ipv6:
                try:
                    ipv6.bind(("::1", port))
                    return port
                except OSError:
                    continue


def has_ipv6():
    """True if this machine has ::1 (containers may lack it)."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
            return True
        except OSError:
            return False


class Target:
    """What the tests use. Owner: one test. `folder` is the run's own; logs are kept there."""

    name = ""
    # Features that the scripts ask for by FEATURES; what a target lacks is skipped, and said.
    features = ()

    def __init__(self, folder, subsystems):
        self.folder = folder
        self.subsystems = subsystems
        self.port = free_port()
        self.discovery_port = free_port()
        self._process = None

    def environment(self):
        """Variables that tell a guest script where the target is."""
        return {
            "TARGET_ADDRESS": GUEST_VIEW_IPV4,
            "TARGET_ADDRESS6": GUEST_VIEW_IPV6 if "ipv6" in self.features else "",
            "TARGET_PORT": str(self.port),
            "DISCOVERY_PORT": str(self.discovery_port),
            "FEATURES": " ".join(self.features),
        }

    def start(self):
        """Starts the target and returns when it listens."""
        raise NotImplementedError

    def kill(self):
        """SIGKILL: no connection is closed in order, nothing is flushed."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Ends the target; raises TargetFailure if it was already gone or did not end well."""
        raise NotImplementedError

    def is_running(self):
        """True between start and kill or stop, unless it crashed."""
        return self._process is not None and self._process.poll() is None

    def _wait_until(self, is_ready, log_path):
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                state = "is not ready" if self.is_running() else "ended"
                log = log_path.read_text(errors="replace")[-4000:]
                raise TargetFailure(f"{self.name} {state}; its log:\n{log}")
            time.sleep(0.05)


class BasaltTarget(Target):
    """basaltd on this machine, configured by a saved configuration in SPDK's layout."""

    name = "basaltd"

    def __init__(self, folder, subsystems, program, calls=()):
        super().__init__(folder, subsystems)
        self.calls = list(calls)
        self.features = ("compare", "hotplug", "statuses") + (("ipv6",) if has_ipv6() else ())
        self._program = program
        self._log_path = folder / "basaltd.log"
        self._rpc_path = folder / "rpc.sock"

    def start(self):
        config = self.folder / "config.json"
        config.write_text(json.dumps(saved_configuration(
            self.subsystems, self.port, self.discovery_port,
            ["127.0.0.1"] + (["::1"] if has_ipv6() else []), calls=self.calls), indent=2))
        with open(self._log_path, "ab") as log:
            self._process = start_child(
                [str(self._program), "--json", str(config), "-r", str(self._rpc_path),
                 "--cores", "0"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait_until(self._listens, self._log_path)

    def stop(self):
        if not self.is_running():
            raise TargetFailure(f"basaltd ended with {self._process.returncode} during the test; "
                                f"its log:\n{self._log_path.read_text(errors='replace')[-4000:]}")
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TargetFailure("basaltd did not end within 60 s of SIGTERM") from None
        if code != 0:
            raise TargetFailure(f"basaltd ended with {code} after SIGTERM")

    def pause(self):
        """SIGSTOP: it is there, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def call(self, method, parameters=None):
        """One JSON-RPC call; its result, or TargetFailure with the error."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters or {}}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self._rpc_path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            received = b""
            while True:
                part = connection.recv(65536)
                received += part
                try:
                    answer = json.loads(received)
                    break
                except ValueError:
                    if not part:
                        raise TargetFailure(f"{method}: connection closed") from None
        if "error" in answer:
            raise TargetFailure(f"{method}: {answer['error']}")
        return answer["result"]

    def add_namespace(self, subsystem, namespace):
        """Adds a namespace to a subsystem that hosts are connected to."""
        for entry in *namespace.bdev_calls(), namespace_call(subsystem, namespace):
            self.call(entry["method"], entry["params"])

    def remove_namespace(self, subsystem, nsid):
        """Takes a namespace away while hosts are connected."""
        self.call("nvmf_subsystem_remove_ns", {"nqn": subsystem.nqn, "nsid": nsid})

    def _listens(self):
        with socket.socket(socket.AF_INET) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class NvmetTarget(Target):
    """Linux's own target in a guest of its own; killing it kills the whole virtual machine.

    The namespaces are drives of that machine, written through to the files on this one, so that
    what was acknowledged survives the kill.
    """

    name = "nvmet"

    def start(self):
        log_path = self.folder / "nvmet.log"
        script = self.folder / "nvmet.sh"
        script.write_text(self._script())
        with open(log_path, "ab") as log:
            start = log.tell()
            self._process = start_child(
                [sys.executable, str(HERE / "guest" / "run"), "--kernel", "6.12",
                 "--timeout", "3600", "--forward", f"{self.port}=4420",
                 "--forward", f"{self.discovery_port}=8009"]
                + [f"--qemu={argument}" for argument in self._drives()] + [str(script)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": str(self.folder)})
        self._wait_until(lambda: b"nvmet is ready" in log_path.read_bytes()[start:], log_path)

    def stop(self):
        if not self.is_running():
            raise TargetFailure("nvmet's guest ended during the test: see nvmet.log")
        self.kill()

    def _drives(self):
        arguments = []
        for index, namespace in enumerate(self._namespaces()):
            arguments += [
                "-drive", f"file={namespace.path},if=none,id=disk{index},format=raw,discard=unmap",
                "-device", f"virtio-blk-pci,drive=disk{index},write-cache=off,"
                           f"logical_block_size={namespace.block_bytes},"
                           f"physical_block_size={max(namespace.block_bytes, 512)}"]
        return arguments

    def _namespaces(self):
        return [namespace for subsystem in self.subsystems for namespace in subsystem.namespaces]

    def _script(self):
        lines = ["load nvmet; load nvmet_tcp; load virtio_blk",
                 "mount -t configfs configfs /sys/kernel/config",
                 "cd /sys/kernel/config/nvmet"]
        disks = iter("abcdefgh")
        for subsystem in self.subsystems:
            path = f"subsystems/{subsystem.nqn}"
            lines += [f"mkdir {path}",
                      f"echo {int(subsystem.allowed_hosts is None)} >{path}/attr_allow_any_host"]
            for host in subsystem.allowed_hosts or []:
                lines += [f"mkdir -p hosts/{host}",
                          f"ln -s $PWD/hosts/{host} {path}/allowed_hosts/"]
            for namespace in subsystem.namespaces:
                lines += [f"mkdir {path}/namespaces/{namespace.nsid}",
                          f"cd {path}/namespaces/{namespace.nsid}",
                          f"echo -n /dev/vd{next(disks)} >device_path",
                          f"echo -n {namespace.uuid} >device_uuid", "echo 1 >enable",
                          "cd /sys/kernel/config/nvmet"]
        for number, port in (1, 4420), (2, 8009):
            lines += [f"mkdir ports/{number}", f"cd ports/{number}", "echo tcp >addr_trtype",
                      "echo ipv4 >addr_adrfam", "echo 0.0.0.0 >addr_traddr",
                      f"echo {port} >addr_trsvcid", "cd ../.."]
            lines += [f"ln -s $PWD/subsystems/{subsystem.nqn} ports/{number}/subsystems/"
                      for subsystem in self.subsystems]
        return "\n".join(lines + ["echo nvmet is ready", "sleep 3600"]) + "\n"
