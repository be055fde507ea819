#!/usr/bin/env python3
"""What basalt-perf says when the other side wants nothing of it: who has to do what about it."""

import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PERF = None
KEY = "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:\n"


def alert(description):
    """A fatal alert of TLS (RFC 8446, section 6)."""
    return bytes((21, 3, 3, 0, 2, 2, description))


class Answer:
    """Takes one connection, waits for the first bytes, answers with some, and hangs up."""

    def __init__(self, answer):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer):
        with self._listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()


class RefusalTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        key = pathlib.Path(self._folder.name) / "key"
        key.write_text(KEY, encoding="ascii")
        key.chmod(0o600)
        self._tls = ["--tls-psk", key]

    def tearDown(self):
        self._folder.cleanup()

    def says(self, port, *options):
        result = subprocess.run([PERF, "-a", "127.0.0.1", "-p", str(port), "-n",
                                 "nqn.2026-11.io.basalt:x", "--identify", "--adaptive", *options],
                                text=True, capture_output=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 1, result)
        last = result.stderr.splitlines()[-1]
        self.assertTrue(last.startswith("basalt-perf: "), result.stderr)
        return last, result.stderr

    def test_a_key_that_is_not_known_there(self):
        for description in (115, 51, 49):  # unknown_psk_identity, decrypt_error, access_denied
            with Answer(alert(description)) as peer:
                last, _ = self.says(peer.port, *self._tls)
            self.assertIn("refuses the TLS key or identity of host", last)

    def test_tls_that_is_refused(self):
        with Answer(alert(70)) as peer:  # protocol_version
            last, everything = self.says(peer.port, *self._tls)
        self.assertIn("refuses TLS, or does not speak it", last)
        self.assertIn("alert protocol version", everything)

    def test_an_alert_where_no_tls_was_spoken(self):
        with Answer(alert(10)) as peer:  # unexpected_message
            last, _ = self.says(peer.port)
        self.assertIn("hangs up at once; it may want TLS", last)

    def test_no_tls_where_it_was_spoken(self):
        with Answer(b"") as peer:
            last, _ = self.says(peer.port, *self._tls)
        self.assertIn("hangs up at once; it may not speak TLS", last)

    def test_something_else(self):
        with Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
            last, everything = self.says(peer.port)
        self.assertIn("does not speak NVMe/TCP as it should (connecting;", last)
        self.assertIn("protocol violation", everything)

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.assertIn("nothing listens", self.says(port)[0])


if __name__ == "__main__":
    PERF = pathlib.Path(sys.argv.pop(1)) / "basalt-perf"
    unittest.main()
