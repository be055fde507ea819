#!/usr/bin/env python3
"""Drives scripts/rpc.py against rpc_fake_daemon. Usage: rpc_py_test.py RPC_PY FAKE_DAEMON"""

import importlib.machinery
import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import unittest

RPC_PY, FAKE_DAEMON = sys.argv[1:3]
PATIENCE_SECONDS = 30


class RpcPyTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.directory.name, "rpc.sock")
        self.daemon = subprocess.Popen([FAKE_DAEMON, self.socket], stdout=subprocess.PIPE,
                                       text=True)
        word, port = self.daemon.stdout.readline().split()  # It listens when it has said so.
        self.assertEqual(word, "port")
        self.port = int(port)

    def tearDown(self):
        self.daemon.terminate()
        self.daemon.stdout.close()
        self.assertEqual(self.daemon.wait(PATIENCE_SECONDS), 0)
        self.directory.cleanup()

    def run_rpc(self, *words, stdin="", options=None):
        options = ["-s", self.socket] if options is None else options
        return subprocess.run([sys.executable, RPC_PY, *options, *words], input=stdin, text=True,
                              capture_output=True, timeout=PATIENCE_SECONDS, check=False)

    def ok(self, *words, **more):
        done = self.run_rpc(*words, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def fails(self, *words, status=1, **more):
        done = self.run_rpc(*words, **more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def echoed(self, *words, **more):
        """What the daemon saw as the request, in protobuf's text form."""
        self.ok(*words, **more)
        return self.daemon.stdout.readline().strip()

    def created(self, *words):
        name = self.ok("bdev_malloc_create", *words)
        bdev = next(b for b in self.ok("bdev_get_bdevs") if b["name"] == name)
        return bdev["num_blocks"], bdev["block_size"]

    def test_takes_spdks_spelling_of_a_malloc_device(self):
        self.assertEqual(self.ok("bdev_malloc_create", "-b", "Malloc0", "64", "512"), "Malloc0")
        self.assertEqual(self.created("64", "4096", "-b", "M1"), (16384, 4096))
        self.assertEqual(self.created("0.5", "-b", "M2", "512"), (1024, 512))

    def test_takes_every_parameter_by_its_own_name(self):
        self.assertEqual(self.created("--name", "M", "--num-blocks", "9", "--block_size", "512"),
                         (9, 512))
        self.assertEqual(self.created("--name=N", "--block-size=4096", "1"), (256, 4096))
        self.assertEqual(self.created("--num-blocks", "0x10", "512", "-b", "H"), (16, 512))

    def test_takes_spdks_spelling_of_a_target(self):
        self.assertEqual(self.echoed("nvmf_create_transport", "-t", "TCP"), 'trtype: "TCP"')
        self.assertEqual(self.echoed("nvmf_create_transport", "-t", "TCP", "-o", "-q", "64"),
                         'trtype: "TCP" max_queue_depth: 64 c2h_success: false')
        self.assertEqual(self.echoed("nvmf_create_subsystem", "nqn.a", "-a", "-s", "SN", "-m", "4"),
                         'nqn: "nqn.a" serial_number: "SN" allow_any_host: true max_namespaces: 4')
        self.assertEqual(
            self.echoed("nvmf_subsystem_add_ns", "nqn.a", "-n", "3", "Malloc0"),
            'nqn: "nqn.a" namespace { bdev_name: "Malloc0" nsid: 3 }')
        self.assertEqual(
            self.echoed("nvmf_subsystem_add_listener", "discovery", "-t", "tcp", "-a", "::1",
                        "-s", "4420", "-f", "ipv6"),
            'nqn: "nqn.2014-08.org.nvmexpress.discovery" listen_address { trtype: "tcp" '
            'adrfam: "ipv6" traddr: "::1" trsvcid: "4420" }')

    def test_sets_a_bool_either_way(self):
        for words, seen in ((["--histogram"], ' enable: true'), (["-e"], ' enable: true'),
                            (["--no-histogram"], ""), (["-d"], ""), (["--no-enable"], "")):
            self.assertEqual(self.echoed("bdev_enable_histogram", "M", *words), f'name: "M"{seen}')

    def test_splits_a_list_at_commas(self):
        stats = self.ok("bdev_get_iostat", "--names", "a,b")
        self.assertEqual([b["name"] for b in stats["bdevs"]], ["a", "b"])

    def test_takes_a_list_as_several_words(self):
        stats = self.ok("bdev_get_iostat", "--names", "a", "b,c")
        self.assertEqual([b["name"] for b in stats["bdevs"]], ["a", "b", "c"])

    def test_understands_every_methods_example(self):
        loader = importlib.machinery.SourceFileLoader("rpc_py", RPC_PY)
        spec = importlib.util.spec_from_loader("rpc_py", loader)
        rpc_py = importlib.util.module_from_spec(spec)
        loader.exec_module(rpc_py)
        client = rpc_py.Client(self.socket, 0, PATIENCE_SECONDS, False, 0)
        for method in client.call("rpc_get_methods", {"include_descriptors": True}):
            if method["params_from_file"]:
                continue
            name, *words = shlex.split(method["example"])
            self.assertEqual(name, method["name"])
            params = rpc_py.collect_params(rpc_py.build_parser("rpc.py", method), method, words)
            self.assertGreaterEqual(len(params), 0 if not words else 1, method["example"])

    def test_loads_a_configuration_from_a_file_or_standard_input(self):
        config = '{"subsystems": [{"subsystem": "bdev", "config": [{"method": "x"}]}]}'
        seen = 'subsystems { subsystem: "bdev" config { method: "x" } }'
        self.assertEqual(self.echoed("load_config", stdin=config), seen)
        path = os.path.join(self.directory.name, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.assertEqual(self.echoed("load_config", "-j", path), seen)
        self.assertIn("is not JSON", self.fails("load_config", stdin="{"))
        self.assertIn("can't read /none", self.fails("load_config", "-j", "/none"))

    def test_prints_bare_results(self):
        self.assertEqual(self.ok("log_get_level"), "WARNING")
        self.assertIn("bdev_malloc_create", self.ok("rpc_get_methods"))

    def test_reports_the_daemons_errors(self):
        self.assertIn("bdev 'x': ", self.fails("bdev_malloc_delete", "x"))
        self.assertIn("(code -19)", self.fails("bdev_malloc_delete", "x"))
        self.assertIn("parameter 'block_size' must be from 512 to 65536",
                      self.fails("bdev_malloc_create", "1", "100"))
        self.assertIn("'uuid' must be a UUID",
                      self.fails("bdev_malloc_create", "1", "512", "-u", "x"))

    def test_reports_wrong_arguments_before_asking(self):
        for words, text in ((["bdev_malloc_create", "64"], "total_size needs block_size"),
                            (["bdev_malloc_create"], "missing: total_size, block_size"),
                            (["bdev_malloc_create", "x", "512"], "total_size: 'x' is not a number"),
                            (["bdev_malloc_create", "1", "512", "3"], "unrecognized"),
                            (["bdev_malloc_create", "0", "512"], "at least one block"),
                            (["bdev_malloc_create", "--numa-id", "x"], "not a whole number"),
                            (["bdev_malloc_delete", "--name", "a", "b"], "too many arguments: b"),
                            (["bdev_malloc_delete", "--nam", "a"], "unrecognized")):
            self.assertIn(text, self.fails(*words, status=2), words)

    def test_shows_a_methods_help_from_the_daemons_files(self):
        done = self.run_rpc("bdev_malloc_create", "--help")
        self.assertEqual(done.returncode, 0)
        for text in ("Makes a device in memory", "-b NAME", "Size in MiB",
                     "rpc.py bdev_malloc_create -b Malloc0 64 512"):
            self.assertIn(text, done.stdout)

    def test_has_help_and_a_parser_for_every_method(self):
        for method in self.ok("rpc_get_methods"):
            done = self.run_rpc(method, "--help")
            self.assertEqual(done.returncode, 0, method + done.stderr)
            self.assertIn("example:", done.stdout)

    def test_lists_the_methods_if_none_is_named(self):
        done = self.run_rpc()
        self.assertEqual(done.returncode, 1)
        self.assertIn("bdev_malloc_create  ", done.stdout)
        self.assertEqual(self.run_rpc("--help").returncode, 0)

    def test_suggests_methods_that_are_spelt_alike(self):
        self.assertIn("Did you mean: bdev_malloc_create, bdev_malloc_delete?",
                      self.fails("bdev_malloc"))

    def test_gives_up_after_the_time_it_was_told(self):
        text = self.fails("thread_get_stats", options=["-s", self.socket, "-t", "0.3"])
        self.assertIn("no answer from " + self.socket + " in 0.3 s", text)

    def test_says_which_socket_it_tried_and_what_to_do(self):
        text = self.fails("spdk_get_version", options=["-s", "/none/rpc.sock"])
        self.assertIn("can't connect to /none/rpc.sock", text)
        self.assertIn("Is basaltd running?", text)

    def test_reports_a_daemon_that_closes_without_an_answer(self):
        path = os.path.join(self.directory.name, "rude.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen()
            done = subprocess.Popen([sys.executable, RPC_PY, "-s", path, "x"],
                                    stderr=subprocess.PIPE, text=True)
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.close()
            text = done.communicate(timeout=PATIENCE_SECONDS)[1]
        self.assertEqual(done.returncode, 1)
        self.assertIn("closed the connection without an answer", text)

    def test_speaks_tcp(self):
        options = ["-s", "127.0.0.1", "-p", str(self.port)]
        self.assertEqual(self.ok("log_get_level", options=options), "WARNING")

    def test_shows_the_traffic_if_asked(self):
        done = self.run_rpc("log_get_level", options=["-v", "-s", self.socket])
        self.assertEqual(json.loads(done.stdout), "WARNING")
        self.assertIn('"method": "log_get_level"', done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
