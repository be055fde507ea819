#!/usr/bin/env python3
"""A cluster from nothing with scripts/basalt: a control process, three stores and a target, each a
process of its own; a volume that is created, attached, written, read and deleted, while processes
are killed."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = BIN = None
CLUSTER = "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa"
WAIT_SECONDS = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def uuid_of(number):
    return f"00000000-0000-4000-8000-00000000000{number}"


class Daemon:
    """A basaltd of its own folder."""

    def __init__(self, folder, name, config):
        self.folder = folder / name
        self.folder.mkdir()
        self.socket = self.folder / "rpc.sock"
        self.config = self.folder / "basalt.toml"
        self.config.write_text(f'rpc_socket = "{self.socket}"\nidle_before_sleep_us = 0\n' + config)
        self.process = None

    def start(self):
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen([BIN / "basaltd", "-c", self.config], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + WAIT_SECONDS
        while "is ready" not in self.log():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log())
            time.sleep(0.02)

    def log(self):
        return (self.folder / "log").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class BasaltTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self._folder.name)
        self.daemons = {}

    def tearDown(self):
        for daemon in self.daemons.values():
            if daemon.process and daemon.process.poll() is None:
                daemon.kill()
        self._folder.cleanup()

    def add_control(self, name, metadata):
        self.daemons[name] = Daemon(self.dir, name, f"""
[control_plane]
cluster = "{CLUSTER}"
[metadata]
{metadata}
""")

    def add_nodes(self):
        self.grpc = [free_port() for _ in range(4)]
        for i in range(3):
            name = f"store-{i + 1}"
            self.daemons[name] = Daemon(self.dir, name, f"""
uuid = "{uuid_of(i + 1)}"
grpc_port = {self.grpc[i]}
[replication]
cluster = "{CLUSTER}"
listen = "127.0.0.1:{free_port()}"
[[bdev]]
name = "drive"
type = "file"
path = "{self.dir}/{name}/drive.img"
size = "512MiB"
[[pool]]
name = "pool"
bdev = "drive"
create = true
replicas = true
""")
        self.nvme = free_port()
        self.daemons["target"] = Daemon(self.dir, "target", f"""
uuid = "{uuid_of(4)}"
grpc_port = {self.grpc[3]}
nvme_tcp_port = {self.nvme}
[nvmf]
listen = ["127.0.0.1"]
discovery_port = 0
""")

    def run_it(self, *words, status=0):
        result = subprocess.run(
            [SOURCE / "scripts" / "basalt", "--control-plane",
             self.daemons["control"].socket, *words],
            text=True, capture_output=True, timeout=90, check=False)
        self.assertEqual(result.returncode, status, f"{words}: {result.stdout}{result.stderr}")
        return result.stdout if status == 0 else result.stderr

    def ask(self, *words):
        return json.loads(self.run_it(*words, "-o", "json"))

    def wait_for(self, what, *words):
        deadline = time.monotonic() + WAIT_SECONDS
        while not what(last := self.ask(*words)):
            self.assertLess(time.monotonic(), deadline, last)
            time.sleep(0.05)

    def make_cluster(self):
        self.add_control("control", f'path = "{self.dir}/cluster.db"')
        self.add_nodes()
        for daemon in self.daemons.values():
            daemon.start()
        self.wait_for(lambda status: status["state"] == "ready" and status["leader"], "cluster",
                      "status")
        for name, value in (("heartbeat_interval_ms", "400"), ("scan_interval_ms", "200"),
                            ("down_after_ms", "800"), ("map_folder", str(self.dir))):
            self.run_it("settings", "set", name, value)
        for i in range(4):
            name = f"store-{i + 1}" if i < 3 else "target"
            text = self.run_it("node", "register", "--grpc-address", f"127.0.0.1:{self.grpc[i]}",
                               "--label", f"name={name}", "--label", f"host=h{i}", "--label",
                               "rack=r1", "--label", "owner=ops")
            self.assertIn(uuid_of(i + 1), text)
        for i in range(3):
            self.assertIn("pool", self.run_it("drive", "add", f"store-{i + 1}"))

    def load(self, *words):
        """basalt-perf, which checks what it reads."""
        nqn = self.ask("volume", "get", "vol1")["attachment"]["nqn"]
        result = subprocess.run(
            [BIN / "basalt-perf", "-a", "127.0.0.1", "-p", str(self.nvme), "-n", nqn, "--qd", "4",
             "--range", "8m", "--warmup", "0", "--timeout", "30", "--verify", "--adaptive",
             "--rw", "randrw", "--time", "0.3", *words],
            text=True, capture_output=True, timeout=90, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def wait_for_target(self):
        """What the control process knows may be of before; so hosts are the ones to ask."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.nvme)).close()
                return
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline, self.daemons["control"].log())
                time.sleep(0.05)

    def test_from_nothing_to_a_volume_and_back(self):
        self.make_cluster()
        # Again: the same nodes and drives.
        self.run_it("node", "register", "--grpc-address", f"127.0.0.1:{self.grpc[0]}")
        self.run_it("drive", "add", "store-1", "pool")
        nodes = self.ask("node", "list")
        self.assertEqual([node["name"] for node in nodes],
                         ["store-1", "store-2", "store-3", "target"])
        self.assertEqual({node["health"] for node in nodes}, {"up"})
        self.assertEqual(nodes[0]["labels"], ["owner=ops"])
        self.assertEqual((nodes[0]["rack"], nodes[0]["host"], nodes[0]["drives"]), ("r1", "h0", 1))
        self.assertEqual(len(self.ask("drive", "list", "--node", "store-2")), 1)
        create = ("volume", "create", "--name", "vol1", "--size", "64M", "--chunk-size", "16M")
        self.assertEqual(self.ask(*create, "--dry-run")["chunks"], 4)
        self.assertEqual(self.ask("volume", "list"), [])
        volume = self.ask(*create)
        self.assertEqual(self.ask(*create), volume)
        self.assertEqual((volume["state"], volume["number"], len(volume["drives"])),
                         ("ready", 1, 3))
        chunks = self.ask("volume", "get", "--id", volume["uuid"], "--show-chunks")["chunk_list"]
        self.assertEqual([chunk["offset_bytes"] for chunk in chunks],
                         [i << 24 for i in range(4)])
        self.assertEqual({tuple(sorted(chunk["drives"])) for chunk in chunks},
                         {tuple(sorted(volume["drives"]))})
        explained = self.ask("placement", "explain", "vol1", "--chunk", "3")
        self.assertEqual(sorted(explained["stored"]), sorted(volume["drives"]))
        self.assertEqual(explained["loss_probability"], 1)

        self.assertEqual(self.ask("volume", "attach", "vol1", "--target", "target",
                                  "--any-host")["state"], "serves")
        self.assertIn("nvme connect", self.run_it("volume", "get", "vol1"))
        self.load()
        self.assertIn("detach", self.run_it("volume", "delete", "vol1", status=1))
        self.assertIn("vol1", self.run_it("node", "decommission", "store-1", status=1))
        # A store dies: the volume goes on, and the cluster knows.
        self.daemons["store-2"].kill()
        self.load()
        self.wait_for(lambda found: found[1]["health"] == "down", "node", "list")
        self.assertIn("not enough drives", self.run_it("volume", "create", "--name", "v2", "--size",
                                                       "1G", status=1))
        self.daemons["store-2"].start()
        self.wait_for(lambda found: found[1]["health"] == "up", "node", "list")
        # The control process dies: nobody notices, and it knows all when it is back.
        self.daemons["control"].kill()
        before = volume
        self.daemons["control"].start()
        self.wait_for(lambda status: status["state"] == "ready", "cluster", "status")
        self.assertEqual(self.ask("volume", "get", "vol1")["uuid"], before["uuid"])
        self.load()
        # The target dies, and has lost all when it is back: the control process makes it again.
        self.daemons["target"].kill()
        self.daemons["target"].start()
        self.wait_for_target()
        self.load()
        self.wait_for(lambda volume: volume["attachment"]["state"] == "serves", "volume", "get",
                      "vol1")

        self.assertEqual(self.ask("volume", "rename", "vol1", "vol2")["name"], "vol2")
        self.run_it("volume", "detach", "vol2")
        self.assertNotIn("attachment", self.ask("volume", "get", "vol2"))
        self.assertEqual(self.ask("volume", "delete", "vol2", "--dry-run")["removed"], False)
        self.run_it("volume", "delete", "vol2")
        self.assertEqual(self.ask("volume", "list"), [])
        self.run_it("node", "drain", "store-1")
        self.assertIn("not enough drives", self.run_it(*create, status=1))
        self.run_it("node", "uncordon", "store-1")
        self.run_it("node", "decommission", "store-1")
        self.assertEqual(len(self.ask("drive", "list")), 2)
        self.assertEqual(len(self.ask("node", "list")), 3)
        for daemon in self.daemons.values():
            self.assertEqual(daemon.end(), 0, daemon.log())

    def test_what_is_wrong_is_told_with_the_way_out(self):
        folder = self.dir / "later"
        self.add_control("control", f'path = "{folder}/cluster.db"')
        self.add_control("plain", "")
        self.daemons["plain"].config.write_text(
            f'rpc_socket = "{self.daemons["plain"].socket}"\ngrpc_port = {free_port()}\n')
        for daemon in self.daemons.values():
            daemon.start()
        # The store can't be reached yet.
        self.assertIn(str(folder), self.run_it("node", "list", status=1))
        self.assertEqual(self.ask("cluster", "status")["state"], "unreachable")
        folder.mkdir()
        self.wait_for(lambda status: status["state"] == "ready", "cluster", "status")
        self.assertEqual(self.ask("cluster", "status")["uuid"], CLUSTER)
        self.assertIn("can't be reached", self.run_it("node", "register", "--grpc-address",
                                                      f"127.0.0.1:{free_port()}", status=1))
        self.assertIn("no HOST:PORT", self.run_it("node", "register", "--grpc-address", "there",
                                                  status=1))
        grpc = self.daemons["plain"].config.read_text().rpartition("= ")[2].strip()
        self.assertIn("uuidgen", self.run_it("node", "register", "--grpc-address",
                                             f"127.0.0.1:{grpc}", status=1))
        self.assertIn("node 'x'", self.run_it("node", "get", "x", status=1))
        self.assertIn("--id", self.run_it("volume", "get", status=1))
        self.assertIn("size", self.run_it("volume", "create", "--name", "v", "--size", "100X",
                                          status=1))
        self.assertIn("no such object", self.run_it("settings", "set", "colour", "red", status=1))
        # One that has no control role, and one that does not live, are passed over.
        result = subprocess.run(
            [SOURCE / "scripts" / "basalt", "node", "list", "-o", "json", "--control-plane",
             f"127.0.0.1:{free_port()}", "--control-plane", self.daemons["plain"].socket,
             "--control-plane", self.daemons["control"].socket],
            text=True, capture_output=True, timeout=60, check=False)
        self.assertEqual((result.returncode, json.loads(result.stdout or "0")), (0, []),
                         result.stderr)
        for daemon in self.daemons.values():
            self.assertEqual(daemon.end(), 0, daemon.log())

    def call(self, daemon, method, params):
        """The answer, error or not, of a method."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(self.daemons[daemon].socket))
            client.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method,
                                       "params": params}).encode())
            answer = b""
            while not answer.endswith(b"\n"):
                answer += client.recv(1 << 20)
        return json.loads(answer)

    def test_every_method_takes_wrong_input(self):
        self.add_control("control", f'path = "{self.dir}/cluster.db"')
        self.daemons["control"].start()
        self.wait_for(lambda status: status["state"] == "ready", "cluster", "status")
        methods = self.call("control", "rpc_get_methods", {"include_descriptors": True})["result"]
        methods = [method for method in methods if method["name"].startswith("cluster_")]
        self.assertGreater(len(methods), 15)
        for method in methods:
            required = [param["name"] for param in method["params"] if param["required"]]
            if required:
                self.assertEqual(self.call("control", method["name"], {})["error"]["code"], -32602)
            for value in ("", "x", "\u0000", "/" * 100000, -1, 2**64 - 1, 1.5, None, [], {}, True,
                          ["="] * 1000, uuid_of(9)):
                for param in method["params"]:
                    params = {name: uuid_of(9) for name in required} | {param["name"]: value}
                    answer = self.call("control", method["name"], params)
                    self.assertNotEqual(answer.get("error", {}).get("code"), -32603, answer)
        self.assertEqual(self.ask("cluster", "status")["state"], "ready")
        self.assertEqual(self.ask("volume", "list"), [])

    @unittest.skipUnless(shutil.which("etcd"), "no etcd here")
    def test_control_processes_share_an_etcd(self):
        ports = [free_port(), free_port()]
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)

        def start_etcd():
            with (self.dir / "etcd.log").open("a") as log:
                return subprocess.Popen(
                    ["etcd", "--data-dir", self.dir / "etcd", "--listen-client-urls", client,
                     "--advertise-client-urls", client, "--listen-peer-urls", peer,
                     "--initial-advertise-peer-urls", peer, "--initial-cluster",
                     f"default={peer}"], stdout=log, stderr=log)
        etcd = start_etcd()
        try:
            for name in ("control", "other"):
                self.add_control(name, f'endpoints = ["127.0.0.1:{ports[0]}"]')
                self.daemons[name].start()
                self.wait_for(lambda status: status["state"] == "ready", "cluster", "status")
            other = self.daemons["other"].socket
            self.wait_for(lambda status: status["leader"], "cluster", "status")
            self.wait_for(lambda status: status["state"] == "ready" and not status["leader"],
                          "cluster", "status", "--control-plane", other)
            self.run_it("settings", "set", "up_percent_min", "60")
            self.daemons["control"].kill()
            # What one has done, the other knows, and leads; the dead one is passed over.
            begun = time.monotonic()
            self.wait_for(lambda status: status["leader"], "cluster", "status", "--control-plane",
                          other)
            print(f"another leads after {time.monotonic() - begun:.1f} s")
            self.assertIn("60", self.run_it("settings", "list", "--control-plane",
                                            self.daemons["control"].socket, "--control-plane",
                                            other))
            etcd.kill()
            etcd.wait()
            self.wait_for(lambda status: status["state"] == "unreachable", "cluster", "status",
                          "--control-plane", other)
            self.run_it("settings", "set", "up_percent_min", "70", "--control-plane", other,
                        status=1)
            etcd = start_etcd()
            self.wait_for(lambda status: status["state"] == "ready", "cluster", "status",
                          "--control-plane", other)
            self.run_it("settings", "set", "up_percent_min", "70", "--control-plane", other)
        finally:
            etcd.kill()
            etcd.wait()

    def test_completion_knows_the_verbs(self):
        script = subprocess.run([SOURCE / "scripts" / "basalt", "completion"], text=True,
                                capture_output=True, check=True).stdout
        answer = subprocess.run(
            ["bash", "-c", script + '\nCOMP_WORDS=(basalt volume re) COMP_CWORD=2; _basalt; '
             'echo "${COMPREPLY[@]}"'], text=True, capture_output=True, check=True).stdout
        self.assertEqual(answer.split(), ["rename"])


if __name__ == "__main__":
    SOURCE, BIN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
