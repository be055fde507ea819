"""Boots a Linux guest in QEMU (software emulation), runs a shell script in it and judges the run.

A run fails if the script does, if the kernel complains (oops, hung task, warning), if the machine
stops without a result, or if it takes too long. Images come from guest/build-initramfs; what init
and the scripts can use is in guest/init and guest/lib.sh.
"""

import os
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from cpio import CpioWriter

HERE = pathlib.Path(__file__).resolve().parent
KERNELS = ("6.1", "6.12")

# What the kernel prints when something is wrong that no script would notice.
KERNEL_COMPLAINTS = re.compile(
    r"BUG: |Oops: |Kernel panic|general protection fault|WARNING: CPU|blocked for more than"
    r"|Call Trace:|KASAN|refcount_t: |insmod \S+ failed")


class GuestFailure(Exception):
    """The run failed; the message says how, and where the log is."""


class PowerCut(Exception):
    """Raised by on_request: the machine is killed where it stands, which is no failure."""


class Guest:
    """One run of one guest.

    Life: constructed with everything the guest gets, run() once. Owner: one test.
    `script`  shell text, run by dash -eu after lib.sh was sourced.
    `environment`  variables for the script.
    `files`  guest path -> host path. `programs`: the same, with the shared libraries they need.
    `on_request`  called with the words of a script's `host REQUEST`, while the guest waits. It may
    raise PowerCut.
    `qemu_arguments`  more devices.  `forwards`  pairs of a host's loopback port and a guest's port.
    `log_path`  where the serial log goes (also to `echo_to`).
    """

    def __init__(self, kernel, script, *, environment=None, files=None, programs=None,
                 on_request=None, qemu_arguments=(), forwards=(), cpu_count=2, memory_mib=1024,
                 timeout_s=600, log_path=None, echo_to=None):
        if kernel not in KERNELS:
            raise ValueError(f"kernel {kernel}: not one of {', '.join(KERNELS)}")
        self._kernel = kernel
        self._script = script
        self._environment = environment or {}
        self._files = files or {}
        self._programs = programs or {}
        self._on_request = on_request
        self._qemu_arguments = list(qemu_arguments)
        self._forwards = forwards
        self._cpu_count = cpu_count
        self._memory_mib = memory_mib
        self._timeout_s = timeout_s
        self._log_path = log_path
        self._echo_to = echo_to
        self.log = ""

    def run(self):
        """Boots, runs and returns the log. Raises GuestFailure with the reason."""
        cache = build_images(self._kernel)
        with tempfile.TemporaryDirectory(prefix="basalt-guest-") as scratch:
            scratch = pathlib.Path(scratch)
            self._write_initrd(cache, scratch / "initrd")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(scratch / "control"))
            listener.listen(1)
            machine = start_child(self._command(cache, scratch), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            reader = threading.Thread(target=self._read_log, args=(machine.stdout,), daemon=True)
            reader.start()
            try:
                exit_code = self._serve(listener, machine)
            except PowerCut:
                exit_code = 0
            finally:
                machine.kill()
                machine.wait()
                reader.join()
                machine.stdout.close()
                listener.close()
        self._judge(exit_code)
        return self.log

    def _write_initrd(self, cache, path):
        """Tools, modules and this run's files, one archive after the other."""
        with open(path, "wb") as stream:
            for archive in "userspace.cpio", f"kernel-{self._kernel}/modules.cpio":
                with open(cache / archive, "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
            writer = CpioWriter(stream)
            variables = "".join(f"export {name}='{value}'\n"
                                for name, value in self._environment.items())
            writer.data("/e2e/script", f". /e2e/lib.sh\n{variables}{self._script}\n".encode())
            for name, source in self._files.items():
                writer.file(name, source)
            for name, source in self._programs.items():
                writer.program(name, source)
            writer.close()

    def _command(self, cache, scratch):
        """QEMU's command line. KVM is not used: where machines are nested it may hang."""
        return [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-m", str(self._memory_mib), "-smp", str(self._cpu_count),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", str(cache / f"kernel-{self._kernel}" / "vmlinuz"),
            "-initrd", str(scratch / "initrd"),
            # Emulated CPUs that wait for a real one are no lock-ups: the watchdogs get more time.
            # A kernel that boots changes its own code (sched_clock_cpu, once the clock is found to
            # be stable), which QEMU's threads don't bear while another CPU runs it ("Oops: int3"):
            # the others come with guest/init.
            "-append", "console=ttyS0 loglevel=5 panic=-1 nosoftlockup maxcpus=1"
                       " rcupdate.rcu_cpu_stall_timeout=300 mitigations=off nokaslr",
            "-serial", "stdio",
            "-chardev", f"socket,id=control,path={scratch / 'control'}",
            "-serial", "chardev:control",
            "-netdev", "user,id=net0,ipv4=on,ipv6=on" + "".join(
                f",hostfwd=tcp:127.0.0.1:{ours}-10.0.2.15:{theirs}"
                for ours, theirs in self._forwards),
            "-device", "virtio-net-pci,netdev=net0,romfile=",
        ] + self._qemu_arguments

    def _read_log(self, stream):
        """Collects the serial log until QEMU ends; never waits for anybody else."""
        with open(self._log_path or os.devnull, "w", encoding="utf-8") as copy:
            for line in iter(stream.readline, b""):
                text = line.decode("utf-8", "replace").replace("\r", "")
                self.log += text
                copy.write(text)
                copy.flush()
                if self._echo_to is not None:
                    print(text, end="", file=self._echo_to, flush=True)

    def _serve(self, listener, machine):
        """Answers the guest's requests until it reports its exit code, which is returned.

        None if the machine stopped or the time is over without a report.
        """
        deadline = time.monotonic() + self._timeout_s
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        control = None
        pending = b""
        try:
            while time.monotonic() < deadline:
                ready = [key.fileobj for key, _ in selector.select(timeout=0.5)]
                if listener in ready:
                    control, _ = listener.accept()
                    selector.register(control, selectors.EVENT_READ)
                elif control in ready:
                    received = control.recv(4096)
                    if not received:
                        return None
                    *lines, pending = (pending + received).split(b"\n")
                    for line in lines:
                        words = line.decode("utf-8", "replace").strip().split()
                        if words[:1] == ["EXIT"]:
                            return int(words[1])
                        if words[:1] == ["HOST:"]:
                            control.sendall(self._answer(words[1:]))
                elif machine.poll() is not None:
                    return None
            self.log += f"\nguest: no result in {self._timeout_s} s\n"
            return None
        finally:
            selector.close()
            if control is not None:
                control.close()

    def _answer(self, request):
        """Does what the script asked for; what goes wrong is told to the script, which fails."""
        try:
            if self._on_request is None:
                raise ValueError("nobody listens to requests of this guest")
            self._on_request(request)
            return b"done\n"
        except PowerCut:
            raise
        except Exception as error:  # pylint: disable=broad-except
            return f"failed {error}\n".replace("\n", " ").encode() + b"\n"

    def _judge(self, exit_code):
        complaint = KERNEL_COMPLAINTS.search(self.log)
        if exit_code == 0 and complaint is None:
            return
        if exit_code is None:
            reason = "the guest stopped without a result"
        elif exit_code != 0:
            reason = f"the script ended with {exit_code}"
        else:
            reason = f"the guest's kernel complained: {complaint.group(0)}"
        tail = "\n".join(self.log.splitlines()[-80:])
        where = f" (whole log: {self._log_path})" if self._log_path else ""
        raise GuestFailure(f"Linux {self._kernel}: {reason}{where}\n{tail}")


def build_images(kernel):
    """Makes kernel and initramfs unless they are there; the folder they are in."""
    output = subprocess.run([sys.executable, str(HERE / "guest" / "build-initramfs"),
                             "--kernel", kernel], check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(output.stdout.splitlines()[-1])


def start_child(command, **options):
    """Starts a process that is killed by the kernel if this one dies."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--"] + command, **options)


def emulated_nvme(name, image_path=None, *, drive=None, uuid=None, eui64=None, block_bytes=512):
    """QEMU arguments for an emulated NVMe drive with one namespace, backed by a raw file, or by the
    `drive` that QEMU shall know as drive-NAME.

    Its serial number is `name`. QEMU 7.2 can't give it an NGUID, and Linux hides the ids that it
    has, as QEMU's drives once had wrong ones: only Identify shows them.
    """
    identity = (f",uuid={uuid}" if uuid else "") + (f",eui64={eui64}" if eui64 else "")
    return [
        "-drive", drive or f"file={image_path},if=none,id=drive-{name},format=raw",
        "-device", f"nvme,id={name},serial={name}",
        "-device", f"nvme-ns,drive=drive-{name},bus={name}{identity},"
                   f"logical_block_size={block_bytes},physical_block_size={block_bytes}",
    ]
