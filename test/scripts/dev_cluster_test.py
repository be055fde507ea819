#!/usr/bin/env python3
"""A cluster made by scripts/dev-cluster: a host writes and verifies while stores come to harm."""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = BIN = None
NQN = "nqn.2026-01.io.basalt:dev-cluster"
WAIT_SECONDS = 60


def free_ports(count):
    """The first of `count` ports that follow each other and are free."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for port in range(first + 1, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                return first
            except (OSError, OverflowError):
                continue


class DevClusterTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self._folder.name) / "cluster"
        self.port = free_ports(5)

    def tearDown(self):
        if (self.dir / "cluster.json").exists():
            self.run_it("stop", "--delete")
        self.assertFalse(self.dir.exists())
        self._folder.cleanup()

    def run_it(self, *words, status=0):
        result = subprocess.run([SOURCE / "scripts" / "dev-cluster", *words, "--dir", self.dir,
                                 "--bin", BIN], text=True, capture_output=True, timeout=90,
                                check=False)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout if status == 0 else result.stderr

    def start(self):
        return self.run_it("start", "--size", "64MiB", "--store-port", str(self.port),
                           "--target-port", str(self.port + 4))

    def status(self):
        return json.loads(self.run_it("status", "--json"))

    def states(self):
        return [replica["state"] for replica in self.status()["volume"]["replicas"]]

    def wait_for(self, *states):
        deadline = time.monotonic() + WAIT_SECONDS
        while self.states() != list(states):
            self.assertLess(time.monotonic(), deadline, self.status())
            time.sleep(0.1)

    def test_harm_under_a_load_that_verifies(self):
        self.assertIn(f"-s {self.port + 4} -n {NQN}", self.start())
        load = subprocess.Popen(
            [BIN / "basalt-perf", "-a", "127.0.0.1", "-p", str(self.port + 4), "-n", NQN, "--rw",
             "randrw", "--qd", "4", "--time", "600", "--verify", "--adaptive", "--timeout", "60"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.wait_for("in_sync", "in_sync", "in_sync")
            self.run_it("kill", "store-2")
            self.wait_for("in_sync", "out", "in_sync")
            self.run_it("start")
            self.wait_for("in_sync", "in_sync", "in_sync")
            self.run_it("wipe", "store-1")
            self.wait_for("in_sync", "in_sync", "in_sync")
            self.run_it("add")
            self.assertIn("kill store-3", self.run_it("replace", "store-3", "store-4", status=1))
            self.run_it("kill", "store-3")
            self.run_it("replace", "store-3", "store-4")
            self.wait_for("in_sync", "in_sync", "in_sync")
            self.run_it("pause", "store-2")
            self.assertEqual(self.status()["processes"][1]["state"], "paused")
            self.run_it("resume", "store-2")
            self.wait_for("in_sync", "in_sync", "in_sync")
            self.assertIsNone(load.poll())
        finally:
            load.send_signal(subprocess.signal.SIGINT)
            said = load.communicate(timeout=60)[0]
        self.assertRegex(said, r"verified \d+ blocks, 0 wrong")
        self.run_it("stop")
        self.assertEqual({row["state"] for row in self.status()["processes"]}, {"down"})
        self.run_it("start")
        self.wait_for("in_sync", "in_sync", "in_sync")
        self.assertIn("store-4    in_sync", self.run_it("status"))

    def test_what_makes_no_sense(self):
        self.assertIn("dev-cluster start", self.run_it("status", status=1))
        self.assertIn("is no size", self.run_it("start", "--size", "1", status=2))
        self.start()
        self.assertIn("stop --delete", self.run_it("start", "--stores", "2", status=1))
        self.assertIn("there are: store-1", self.run_it("kill", "store-9", status=1))
        self.assertIn("wipe a store", self.run_it("wipe", "target-1", status=1))
        self.run_it("kill", "target-1")
        self.assertIn("start target-1", self.run_it("wipe", "store-1", status=1))
        self.assertIn("is not served", self.run_it("status"))


if __name__ == "__main__":
    SOURCE, BIN = (pathlib.Path(sys.argv.pop(1)) for _ in range(2))
    unittest.main()
