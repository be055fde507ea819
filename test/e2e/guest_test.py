#!/usr/bin/env python3
"""Shows that a guest's failure is noticed: each of these runs would pass if it were not."""

import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from guest import Guest, GuestFailure  # noqa: E402 (its folder is known only now)

PROGRAMS = None


class GuestTest(unittest.TestCase):
    """Boots the newest kernel; one boot a test."""

    def assert_fails(self, expected, script, **options):
        with self.assertRaisesRegex(GuestFailure, expected):
            Guest("6.12", script, **options).run()

    def test_script_asks_the_host_and_passes(self):
        asked = []
        Guest("6.12", "host first request; host second", on_request=asked.append).run()
        self.assertEqual(asked, [["first", "request"], ["second"]])

    def test_failing_command_fails_the_run(self):
        self.assert_fails("the script ended with 1", "false; echo not reached")

    def test_request_that_the_host_can_not_do_fails_the_run(self):
        def refuse(words):
            raise ValueError(f"unknown {words}")
        self.assert_fails("host could not dance: failed", "host dance", on_request=refuse)

    def test_kernel_warning_fails_a_run_whose_script_passes(self):
        self.assert_fails("kernel complained: BUG: ", "echo '<1>BUG: made up' >/dev/kmsg")

    def test_kernel_crash_fails_the_run(self):
        self.assert_fails("stopped without a result", "echo c >/proc/sysrq-trigger; sleep 60")

    def test_hang_ends_at_the_time_out(self):
        self.assert_fails("no result in 20 s", "sleep 600", timeout_s=20)


class BlockJournalTest(unittest.TestCase):
    """The checker finds what it is there for, on a file."""

    def setUp(self):
        # Not in /tmp, which may be a tmpfs without O_DIRECT.
        self._folder = tempfile.TemporaryDirectory(dir=PROGRAMS)
        self._device = pathlib.Path(self._folder.name) / "device"
        self._journal = pathlib.Path(self._folder.name) / "journal"
        with open(self._device, "wb") as device:
            device.truncate(16 << 20)

    def tearDown(self):
        self._folder.cleanup()

    def write(self):
        with subprocess.Popen([str(PROGRAMS / "block-journal"), "run", str(self._device),
                               str(self._journal)], stdout=subprocess.DEVNULL) as process:
            time.sleep(1)
            process.terminate()
        self.assertEqual(process.returncode, 0)
        written = [sequence > 0 for sequence in self.journal_page()[4:516]]
        # The first of two neighbours that were written.
        self._block = next(i for i, both in enumerate(zip(written, written[1:])) if all(both))

    def journal_page(self):
        """The first worker's, in words: first, count and "under way" of its last write, reserved,
        the sequences of its 512 blocks."""
        return list(struct.unpack("<1024I", self._journal.read_bytes()[:4096]))

    def check(self, **changes):
        """With some words of the first page of the journal changed, by index: word_5=7."""
        page = self.journal_page()
        for name, value in changes.items():
            page[int(name[5:])] = value
        journal = self._journal.with_suffix(".changed")
        journal.write_bytes(struct.pack("<1024I", *page) + self._journal.read_bytes()[4096:])
        return self.check_with(journal)

    def check_with(self, *journals):
        return subprocess.run([PROGRAMS / "block-journal", "check", self._device, *journals],
                              capture_output=True, text=True, check=False)

    def replace_block(self, block, content):
        with open(self._device, "r+b") as device:
            device.seek(block * 4096)
            device.write(content)

    def read_block(self, block):
        with open(self._device, "rb") as device:
            device.seek(block * 4096)
            return device.read(4096)

    def test_what_was_written_passes(self):
        self.write()
        self.assertEqual(self.check().returncode, 0)

    def test_older_write_of_the_same_block_is_found(self):
        self.write()
        older = self.read_block(self._block)
        number = int.from_bytes(older[8:16], "little")
        self.assertEqual(self.journal_page()[4 + self._block], number)
        result = self.check(**{f"word_{4 + self._block}": number + 1})
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"block {self._block}: stale", result.stderr)

    def test_write_that_went_to_the_wrong_block_is_found(self):
        self.write()
        self.replace_block(self._block, self.read_block(self._block + 1))
        result = self.check()
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"block {self._block}: corrupt", result.stderr)

    def test_write_under_way_may_be_there_but_not_in_part(self):
        self.write()
        first, count = self._block, 2
        numbers = self.journal_page()[4 + first:4 + first + count]
        under_way = {"word_0": first, "word_1": count, "word_2": 1}
        self.assertEqual(self.check(**under_way).returncode, 0)
        for older in range(1 << count):
            changes = {f"word_{4 + first + i}": numbers[i] - (older >> i & 1) for i in range(count)}
            result = self.check(**under_way, **changes)
            self.assertEqual(result.returncode, int(older in (1, 2)), result.stderr)
            self.assertEqual("torn" in result.stderr, older in (1, 2))

    def test_copy_of_the_journal_bounds_what_a_snapshot_holds(self):
        self.write()
        before = self._journal.read_bytes()
        page = self.journal_page()
        page[0:3] = [0, 0, 0]
        page[4 + self._block] -= 1
        older = self._journal.with_suffix(".older")
        older.write_bytes(struct.pack("<1024I", *page) + before[4096:])
        self.assertEqual(self.check_with(older, self._journal).returncode, 0)
        result = self.check_with(self._journal, older)
        self.assertIn(f"block {self._block}: too new", result.stderr)

    def test_flipped_bit_is_found(self):
        self.write()
        content = bytearray(self.read_block(self._block))
        content[4095] ^= 1
        self.replace_block(self._block, content)
        self.assertEqual(self.check().returncode, 1)


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 else None
    if PROGRAMS is None:
        sys.exit("usage: guest_test.py BUILD/bin [TEST...]")
    unittest.main(verbosity=2)
