"""Writes initramfs archives: cpio "newc", see driver-api/early-userspace/buffer-format in Linux.

Written here because the archive needs device nodes and root's ownership, which `cpio` only makes
for root, and because archives of this format can be put one behind the other: tools, modules and
the files of one run are separate archives, and only the last changes from run to run.
"""

import os
import stat
import subprocess

ALIGN = 4


class CpioWriter:
    """One archive, written entry by entry. Parent folders are made as needed."""

    def __init__(self, stream):
        self._stream = stream
        self._inode = 0
        self._names = set()

    def folder(self, name):
        """Adds folder `name` (absolute path in the guest) and its parents, once."""
        name = name.strip("/")
        if not name or name in self._names:
            return
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def data(self, name, content, mode=0o644):
        """Adds a regular file with the bytes `content`."""
        self.folder(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFREG | mode, content)

    def file(self, name, path):
        """Adds the host's file `path` (links followed), keeping its execute permission."""
        with open(path, "rb") as source:
            self.data(name, source.read(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def link(self, name, to):
        """Adds a symbolic link."""
        self.folder(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, to.encode())

    def character_device(self, name, major, minor):
        """Adds a device node: the kernel opens /dev/console before devtmpfs is there."""
        self.folder(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, b"", major, minor)

    def program(self, name, path):
        """Adds a program and the shared libraries that the dynamic linker would load for it."""
        self.file(name, path)
        for library in shared_libraries(path):
            if library.strip("/") not in self._names:
                self.file(library, library)

    def has(self, name):
        """True if the archive has an entry `name`."""
        return name.strip("/") in self._names

    def close(self):
        """Ends the archive and pads it, so that another may follow."""
        self._entry("TRAILER!!!", 0, b"")
        self._pad(512)

    def _entry(self, name, mode, content, major=0, minor=0):
        self._names.add(name)
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(encoded), 0)
        self._stream.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad(ALIGN)
        self._stream.write(content)
        self._pad(ALIGN)

    def _pad(self, to):
        self._stream.write(b"\0" * (-self._stream.tell() % to))


def shared_libraries(path):
    """Absolute paths of the libraries of program `path`, its dynamic linker among them."""
    output = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    missing = [line.split()[0] for line in output.splitlines() if "not found" in line]
    if missing:
        raise FileNotFoundError(f"{path} needs {', '.join(missing)}")
    return [word for line in output.splitlines() for word in line.split() if word.startswith("/")]
