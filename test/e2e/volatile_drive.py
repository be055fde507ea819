"""A drive with a volatile cache whose power can be cut: an NBD server for QEMU's emulated drives.

What QEMU writes to an ordinary image survives QEMU in the page cache of this machine. Here a write
is in the image only when a flush after it is answered, which takes a while. A cut gives an image
with any of the other writes, whole or in part: each of their sectors is kept or lost.

The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "Fixed newstyle
negotiation" and "Transmission phase", simple replies only.
"""

import collections
import os
import pathlib
import random
import select
import socket
import struct
import threading
import time

SECTOR_BYTES = 512
FLUSH_MAX_S = 0.005
CUT_WRITES_MIN = 4

MAGIC = 0x4e42444d41474943
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3e889045565a9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
OPTION_ABORT, OPTION_INFO, OPTION_GO = 2, 6, 7
REPLY_ACK, REPLY_INFO, REPLY_UNSUPPORTED = 1, 3, (1 << 31) | 1
COMMAND_READ, COMMAND_WRITE, COMMAND_DISCONNECT, COMMAND_FLUSH = range(4)
COMMAND_TRIM, COMMAND_WRITE_ZEROES = 4, 6
# Has flags; flush; trim; write zeroes. Not "force unit access": QEMU writes and flushes instead.
TRANSMISSION_FLAGS = 1 | 4 | 32 | 64


class VolatileDrive:
    """One drive and its server. Owner: one test. Life: constructed with an image, start(), any
    number of cuts, stop().

    `image` is what is durable. `on_cut` is called while the drive stands still, just before a cut
    image is made, with its number. Every `cut_every` writes, about, there is one, as soon as
    enough is at stake, up to `cuts`. stop() makes the last, as the power is gone then.
    """

    def __init__(self, image, *, cuts, cut_every, on_cut, seed):
        self._image = pathlib.Path(image)
        # What the drive reads back: durable or not.
        self._seen_path = self._image.with_suffix(".seen")
        self._unflushed = []  # Writes: offset and data, in order.
        self._flushes = collections.deque()  # Under way: when to answer, last write, handle.
        self._random = random.Random(seed)
        self._cuts = cuts
        self._cut_every = cut_every
        self._on_cut = on_cut
        self._writes_to_cut = self._next_cut()
        self.cut_images = []
        self.lost_writes = 0
        self.flushes = 0
        self.writes = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._failure = None

    def qemu_drive(self, identity):
        """QEMU's argument for a drive of that name."""
        return (f"driver=nbd,server.type=unix,server.path={self._socket_path()},"
                f"cache.direct=on,if=none,id={identity}")

    def start(self):
        """Begins to wait for QEMU."""
        copy_sparse(self._image, self._seen_path)
        self._durable = os.open(self._image, os.O_RDWR)
        self._seen = os.open(self._seen_path, os.O_RDWR)
        self._size = os.fstat(self._durable).st_size
        self._listener.bind(str(self._socket_path()))
        self._listener.listen(1)
        self._thread.start()

    def stop(self):
        """After QEMU has ended: the last cut. Raises what went wrong while serving."""
        self._listener.close()
        self._thread.join(timeout=60)
        if self._failure is not None:
            raise self._failure
        self._cut()
        os.close(self._durable)
        os.close(self._seen)

    def _socket_path(self):
        return self._image.with_suffix(".nbd")

    def _next_cut(self):
        return self._random.randrange(1, 2 * self._cut_every)

    # ---- The cache.

    def _write(self, offset, data):
        os.pwrite(self._seen, data, offset)
        self._unflushed.append((offset, data))
        self.writes += 1
        self._writes_to_cut -= 1
        if self._writes_to_cut <= 0 and len(self._unflushed) >= CUT_WRITES_MIN:
            self._cut_between()

    def _begin_flush(self, handle):
        due = time.monotonic() + self._random.random() * FLUSH_MAX_S
        self._flushes.append((due, self.writes, handle))

    def _end_flush(self):
        """The oldest; its handle."""
        _, last, handle = self._flushes.popleft()
        count = max(0, len(self._unflushed) - (self.writes - last))
        for offset, data in self._unflushed[:count]:
            os.pwrite(self._durable, data, offset)
        del self._unflushed[:count]
        self.flushes += 1
        return handle

    def _cut_between(self):
        """A cut after which the drive goes on."""
        self._writes_to_cut = self._next_cut()
        if len(self.cut_images) < self._cuts - 1:
            self._cut()

    def _cut(self):
        """An image as it may be if the power goes now."""
        number = len(self.cut_images) + 1
        self._on_cut(number)
        path = self._image.with_name(f"cut{number}.img")
        copy_sparse(self._image, path)
        with open(path, "r+b", buffering=0) as image:
            for offset, data in self._unflushed:
                fate = self._random.choice(("kept", "lost", "torn"))
                self.lost_writes += fate != "kept"
                for at in range(0, len(data), SECTOR_BYTES):
                    if fate == "kept" or (fate == "torn" and self._random.random() < 0.5):
                        os.pwrite(image.fileno(), data[at:at + SECTOR_BYTES], offset + at)
        self.cut_images.append(path)

    # ---- The protocol.

    def _serve(self):
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # Nobody came.
        with connection:
            try:
                if self._negotiate(connection):
                    self._work(connection)
            except (EOFError, ConnectionError):
                pass  # QEMU was killed.
            except Exception as failure:  # pylint: disable=broad-except
                self._failure = failure

    def _negotiate(self, connection):
        connection.sendall(struct.pack(">QQH", MAGIC, OPTION_MAGIC, 3))
        receive(connection, 4)
        while True:
            _, option, length = struct.unpack(">QII", receive(connection, 16))
            receive(connection, length)
            if option in (OPTION_GO, OPTION_INFO):
                export = struct.pack(">HQH", 0, self._size, TRANSMISSION_FLAGS)
                self._answer(connection, option, REPLY_INFO, export)
                self._answer(connection, option, REPLY_ACK)
                if option == OPTION_GO:
                    return True
            elif option == OPTION_ABORT:
                self._answer(connection, option, REPLY_ACK)
                return False
            else:
                self._answer(connection, option, REPLY_UNSUPPORTED)

    @staticmethod
    def _answer(connection, option, reply, data=b""):
        connection.sendall(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, reply, len(data))
                           + data)

    def _work(self, connection):
        """Commands and flushes that have taken their time, until QEMU is gone."""
        while True:
            wait_s = max(0, self._flushes[0][0] - time.monotonic()) if self._flushes else None
            if select.select([connection], [], [], wait_s)[0] and not self._command(connection):
                return
            while self._flushes and self._flushes[0][0] <= time.monotonic():
                self._reply(connection, self._end_flush())

    def _command(self, connection):
        """One request; false at the end."""
        magic, _, command, handle, offset, length = struct.unpack(
            ">IHHQQI", receive(connection, 28))
        if magic != REQUEST_MAGIC:
            raise ValueError(f"not a request: {magic:#x}")
        if command == COMMAND_DISCONNECT:
            return False
        if command == COMMAND_FLUSH:
            self._begin_flush(handle)
            return True
        answer = b""
        if command == COMMAND_READ:
            answer = os.pread(self._seen, length, offset)
        elif command == COMMAND_WRITE:
            self._write(offset, receive(connection, length))
        elif command == COMMAND_WRITE_ZEROES:
            self._write(offset, bytes(length))
        elif command != COMMAND_TRIM:
            raise ValueError(f"unknown command {command}")
        self._reply(connection, handle, answer)
        return True

    @staticmethod
    def _reply(connection, handle, data=b""):
        connection.sendall(struct.pack(">IIQ", REPLY_MAGIC, 0, handle) + data)


def receive(connection, count):
    """Exactly `count` bytes; EOFError if there are no more."""
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def copy_sparse(source, target):
    """A copy without what the source has not."""
    size = os.stat(source).st_size
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        new.truncate(size)
        at = 0
        while True:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
                end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            except OSError:
                return  # No data any more.
            os.lseek(old.fileno(), at, os.SEEK_SET)
            os.lseek(new.fileno(), at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(new.fileno(), old.fileno(), None, end - at)
