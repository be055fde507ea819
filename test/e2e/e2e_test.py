"""The end-to-end cases: what is exported, which script runs in the guest, what the host does.

The steps are in cases/*.sh. Each case has its own target, files and guest, so that none depends
on what another left behind.
"""

import dataclasses
import json
import pathlib
import shutil
import tempfile
import time
import unittest

from guest import HERE, Guest, PowerCut, build_images, emulated_nvme
from replicated import Cluster
from target import (BasaltTarget, DriveNamespace, Namespace, NvmetTarget, PoolNamespace,
                    RemoteNamespace, Subsystem, check_pool, make_image, make_pool,
                    saved_configuration)
from volatile_drive import VolatileDrive

CASES = ("control", "data", "commands", "restart", "multipath", "drive", "initiator", "paths",
         "auth", "store", "powercut", "replicated")
TARGETS = ("basaltd", "nvmet")

NQN = "nqn.2026-01.io.basalt:open"
NQN_BEHIND = "nqn.2026-01.io.basalt:behind"
NQN_OTHER = "nqn.2026-01.io.basalt:other"
NQN_PRIVATE = "nqn.2026-01.io.basalt:private"
HOST_ALLOWED = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000aa"
# Made by `nvme gen-dhchap-key`, with no hash and with SHA-256 and SHA-512.
SECRETS = {
    "SECRET": "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:",
    "OTHER_SECRET": "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:",
    "CONTROLLER_SECRET": "DHHC-1:03:6jMCPXwQ8m/qh2Vdn6hTUEtJfQwcTPeQyO8bFljj9VZ2vdCZbuk9wOY"
                         "0rON23Nmy19VuNnIxakxxXMDP+zVzuRG5ytU=:",
}
SIZE_MIB = 512
# Of block-journal, see block_journal.cc.
JOURNAL_BYTES = 8 * 4096


@dataclasses.dataclass
class Settings:
    """What `run` was asked for. `console`: a stream for the guests' logs, or None."""
    target: str
    programs: pathlib.Path
    console: object = None


@dataclasses.dataclass
class CutRecords:
    """What the guest of `powercut` had told to its other drive when the power went.

    That drive is an array of copies of block-journal's journal: 0 the live one, 2n - 1 and 2n those
    before and after snapshot n was taken. The first is erased before a snapshot is deleted.
    """
    journal: bytes
    snapshots: dict

    @classmethod
    def read(cls, path):
        """Everything, as it was at one moment: again, until nothing has changed meanwhile."""
        content = None
        while content != (content := path.read_bytes()):
            pass
        copies = [content[at:at + JOURNAL_BYTES] for at in range(0, len(content), JOURNAL_BYTES)]
        # The last page is written last.
        return cls(copies[0], {
            number: (copies[2 * number - 1], copies[2 * number])
            for number in range(1, len(copies) // 2)
            if any(copies[2 * number - 1][-4096:]) and any(copies[2 * number][-4096:])})


class LinuxHostTest(unittest.TestCase):
    """One case with one kernel. The run's folder is kept if the case fails, for its logs."""

    def __init__(self, case, kernel, settings):
        super().__init__(f"test_{case}")
        self._case = case
        self._kernel = kernel
        self._settings = settings

    def __str__(self):
        return f"{self._case} (Linux {self._kernel}, {self._settings.target})"

    def setUp(self):
        # Not in /tmp: that may be a tmpfs, which can't do O_DIRECT on older kernels.
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix=f"run-{self._case}-",
                                                     dir=build_images(self._kernel)))
        self._started_s = time.monotonic()
        self._passed = False

    def tearDown(self):
        print(f"{self}: {time.monotonic() - self._started_s:.0f} s", flush=True)
        if self._passed:
            shutil.rmtree(self._folder)
        else:
            print(f"logs are in {self._folder}", flush=True)

    def test_control(self):
        subsystems = [
            Subsystem(NQN, [self._namespace(1), self._namespace(2, block_bytes=4096)]),
            Subsystem(NQN_PRIVATE, [self._namespace(1, name="private")], [HOST_ALLOWED]),
        ]
        extra = self._namespace(3)

        def on_request(target, words):
            if words == ["add-namespace"]:
                target.add_namespace(subsystems[0], extra)
            elif words == ["remove-namespace"]:
                target.remove_namespace(subsystems[0], extra.nsid)
            else:
                raise ValueError(f"unknown request {words}")

        self._run(subsystems, on_request=on_request, cpu_count=4)

    def test_data(self):
        self._run([Subsystem(NQN, [self._namespace(1), self._namespace(2, block_bytes=4096)])])

    def test_restart(self):
        def on_request(target, words):
            actions = {"kill-target": target.kill, "stop-target": target.stop,
                       "start-target": target.start}
            actions[" ".join(words)]()

        self._run([Subsystem(NQN, [self._namespace(1), self._namespace(2, block_bytes=4096)])],
                  on_request=on_request, programs=self._block_journal())

    def test_store(self):
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd has pools")
        image = self._make_pool()
        subsystem = Subsystem(NQN, [PoolNamespace(1, image)])

        def on_request(target, words):
            if words[0] == "snapshot":
                number = int(words[1])
                target.call("bdev_lvol_snapshot", {"lvol_name": "pool0/volume",
                                                   "snapshot_name": f"s{number}"})
                snapshot = PoolNamespace(number + 1, image, volume=f"pool0/s{number}")
                target.add_namespace(subsystem, snapshot)
                subsystem.namespaces.append(snapshot)
            elif words == ["kill-target"]:
                target.kill()
            elif words == ["start-target"]:
                target.start()
            elif words == ["check"]:
                check_pool(target)
            elif words == ["delete-snapshot"]:
                target.remove_namespace(subsystem, 2)
                target.call("bdev_lvol_delete", {"name": "pool0/s1"})
            else:
                raise ValueError(f"unknown request {words}")

        self._run([subsystem], on_request=on_request, programs=self._block_journal(),
                  environment={"ROUNDS": "4"})

    def test_replicated(self):
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd has replicated volumes")
        cluster = Cluster(self._folder, self._settings.programs / "basaltd", NQN, size_mib=128)
        self.addCleanup(cluster.kill)
        cluster.start()
        self._run_guest({**cluster.heads["this"].environment(),
                         "OTHER_PORT": str(cluster.heads["other"].port), "ROUNDS": "2"},
                        on_request=cluster.do, programs=self._block_journal())
        cluster.stop()
        self._passed = True

    def test_powercut(self):
        # basaltd runs in a guest that is cut off; what its drive kept is served from here.
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd runs in the guest")
        image = self._make_pool()
        records = make_image(self._folder / "records.img", 1)
        kept = {}
        drive = VolatileDrive(image, cuts=4, cut_every=300, seed=time.time_ns(), on_cut=lambda
                              number: kept.update({number: CutRecords.read(records)}))
        drive.start()
        self._cut_off(drive, records)
        drive.stop()
        print(f"{drive.writes} writes, {drive.flushes} flushes; {len(kept)} cuts lost "
              f"{drive.lost_writes} writes", flush=True)
        self.assertGreater(drive.lost_writes, 0, "the cuts cost nothing")
        self.assertEqual(len(kept), 4)
        self._check_cuts(drive.cut_images, kept)
        self._passed = True

    def _cut_off(self, drive, records):
        """A guest with basaltd on the drive, until it asks for its end."""
        config = self._folder / "config.json"
        config.write_text(json.dumps(saved_configuration(
            [Subsystem(NQN, [PoolNamespace(1, "/dev/loop0")])], 4420, 8009, ["127.0.0.1"])))

        def on_request(words):
            self.assertEqual(words, ["cut-power"])
            raise PowerCut

        # QEMU's page cache is this machine's: what is written to `records` survives QEMU.
        journal = ["-drive", f"file={records},if=none,id=records,format=raw,cache=unsafe",
                   "-device", "virtio-blk-pci,drive=records"]
        self._run_guest(
            {"PHASE": "work", "TARGET_ADDRESS": "127.0.0.1", "TARGET_PORT": "4420",
             "FEATURES": ""}, on_request=on_request, files={"/e2e/config.json": config},
            qemu_arguments=emulated_nvme("volatile", drive=drive.qemu_drive("drive-volatile"))
            + journal, programs={"/bin/basaltd": self._settings.programs / "basaltd",
                                 **self._block_journal()})

    def _check_cuts(self, images, kept):
        """A guest that looks at each pool, which is served from this machine."""
        files = {}
        for cut, records in kept.items():
            path = self._folder / f"{cut}.journal"
            path.write_bytes(records.journal)
            files[f"/e2e/cuts/{path.name}"] = path
            for number, copies in records.snapshots.items():
                for name, content in zip(("before", "after"), copies):
                    path = self._folder / f"{cut}.{number}.{name}"
                    path.write_bytes(content)
                    files[f"/e2e/cuts/{path.name}"] = path
        target = self._make_target([])
        self.addCleanup(lambda: target.kill() if target.is_running() else None)

        def on_request(words):
            cut = int(words[1])
            if words[0] == "open":
                image = images[cut - 1]
                target.subsystems = [Subsystem(NQN, [PoolNamespace(1, image)] + [
                    PoolNamespace(number + 1, image, volume=f"pool0/s{number}")
                    for number in kept[cut].snapshots])]
                target.start()
                check_pool(target)
            else:
                target.stop()

        self._run_guest({**target.environment(), "PHASE": "check", "CUTS": str(len(images))},
                        on_request=on_request, files=files, programs=self._block_journal())

    def test_commands(self):
        if self._settings.target != "basaltd":
            self.skipTest("nvmet in Linux 6.12 has no reservations")
        subsystem = Subsystem(NQN, [self._namespace(1), self._namespace(2, block_bytes=4096)])
        subsystem.namespaces[0].options["ptpl_file"] = str(self._folder / "reservation")
        hidden = self._namespace(3)
        hidden.options["no_auto_visible"] = True

        def on_request(target, words):
            if words == ["kill-target"]:
                target.kill()
            elif words == ["start-target"]:
                target.start()
            elif words == ["add-hidden"]:
                target.add_namespace(subsystem, hidden)
            elif words == ["remove-hidden"]:
                target.remove_namespace(subsystem, hidden.nsid)
            elif words[0] in ("show", "hide"):
                target.call(f"nvmf_ns_{'add' if words[0] == 'show' else 'remove'}_host",
                            {"nqn": NQN, "nsid": hidden.nsid, "host": words[1]})
            else:
                raise ValueError(f"unknown request {words}")

        self._run([subsystem], on_request=on_request)

    def test_multipath(self):
        if self._settings.target != "basaltd":
            self.skipTest("the ANA states are set by basaltd's calls")
        volume = self._namespace(1)
        behind = self._start_target("behind", [Subsystem(NQN_BEHIND, [volume])])
        fronts = {}
        for name, first_cntlid in ("this", 1), ("other", 1000):
            namespace = RemoteNamespace(1, volume.path, uuid=volume.uuid, nqn=NQN_BEHIND,
                                        ports=(behind.port,))
            fronts[name] = self._start_target(name, [Subsystem(NQN, [namespace], options={
                "ana_reporting": True, "min_cntlid": first_cntlid,
                "max_cntlid": first_cntlid + 998})])

        def address(port):
            return {"trtype": "TCP", "traddr": "127.0.0.1", "trsvcid": str(port)}

        def on_request(words):
            if words == ["add-referral"]:
                fronts["this"].call("nvmf_discovery_add_referral",
                                    {"address": address(fronts["other"].discovery_port)})
            elif words[0] == "ana":
                fronts[words[1]].call("nvmf_subsystem_listener_set_ana_state", {
                    "nqn": NQN, "listen_address": address(fronts[words[1]].port),
                    "ana_state": words[2]})
            elif words[0] in ("kill", "start"):
                getattr(fronts[words[1]], words[0])()
            else:
                raise ValueError(f"unknown request {words}")

        environment = {**fronts["this"].environment(), "OTHER_PORT": str(fronts["other"].port),
                       "OTHER_DISCOVERY_PORT": str(fronts["other"].discovery_port)}
        self._run_guest(environment, on_request=on_request, programs=self._block_journal())
        for target in *fronts.values(), behind:
            target.stop()
        self._passed = True

    def _start_target(self, name, subsystems):
        """A basaltd beside others, with a folder of its own."""
        folder = self._folder / name
        folder.mkdir()
        target = BasaltTarget(folder, subsystems, self._settings.programs / "basaltd")
        target.start()
        self.addCleanup(lambda: target.kill() if target.is_running() else None)
        return target

    def test_auth(self):
        if self._settings.target != "basaltd":
            self.skipTest("the keys are set by basaltd's calls")
        if self._kernel == "6.1":
            self.skipTest("Debian's Linux 6.1 has no NVMe authentication")
        target = self._make_target([Subsystem(NQN_PRIVATE, [self._namespace(1)], [HOST_ALLOWED])])
        target.start()
        self.addCleanup(lambda: target.kill() if target.is_running() else None)
        for name, secret in SECRETS.items():
            path = self._folder / f"{name}.key"
            path.touch(mode=0o600)
            path.write_text(secret + "\n")
            target.call("keyring_file_add_key", {"name": name, "path": str(path)})
        host = {"nqn": NQN_PRIVATE, "host": HOST_ALLOWED}
        target.call("nvmf_subsystem_set_keys", {**host, "dhchap_key": "SECRET",
                                                "dhchap_ctrlr_key": "CONTROLLER_SECRET"})
        seen = 0

        def on_request(words):
            nonlocal seen
            if words[0] == "algorithms":
                target.call("nvmf_set_config", {"dhchap_digests": [words[1]],
                                                "dhchap_dhgroups": [words[2]]})
            elif words == ["rekey"]:
                target.call("nvmf_subsystem_set_keys", {**host, "dhchap_key": "OTHER_SECRET"})
                seen = self._authentications()
            elif words == ["wait-authenticated"]:
                deadline_s = time.monotonic() + 60
                while self._authentications() < seen + 3 and time.monotonic() < deadline_s:
                    time.sleep(0.1)
                self.assertGreaterEqual(self._authentications(), seen + 3, "admin and two queues")
            else:
                raise ValueError(f"unknown request {words}")

        self._run_guest({**target.environment(), **SECRETS}, on_request=on_request, cpu_count=2)
        target.stop()
        self._passed = True

    def _authentications(self):
        """How many queues have authenticated, by the target's log."""
        return (self._folder / "basaltd.log").read_text().count(" authenticated with ")

    def test_drive(self):
        # basaltd runs in the guest, on emulated NVMe drives; the guest is its own host.
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd runs in the guest")
        uuid = "3c0f8f5e-8d0a-4d6c-9b52-6b1a5a8f0e01"
        eui64 = "52540000e2e00002"
        namespaces = [
            DriveNamespace(1, self._folder / "first.img", 512, identity={"uuid": uuid}),
            DriveNamespace(2, self._folder / "second.img", 4096, identity={"eui64": eui64}),
        ]
        for namespace in namespaces:
            make_image(namespace.path, SIZE_MIB)
        config = self._folder / "config.json"
        config.write_text(json.dumps(saved_configuration(
            [Subsystem(NQN, namespaces)], 4420, 8009, ["127.0.0.1"])))
        drives = emulated_nvme("first", namespaces[0].path, uuid=uuid) + emulated_nvme(
            "second", namespaces[1].path, eui64="0x" + eui64, block_bytes=4096)
        self._run_guest(
            {"TARGET_ADDRESS": "127.0.0.1", "TARGET_PORT": "4420", "FEATURES": "compare statuses"},
            files={"/e2e/config.json": config}, qemu_arguments=drives, memory_mib=2048,
            programs={"/bin/basaltd": self._settings.programs / "basaltd"})
        self._passed = True

    def test_initiator(self):
        # basaltd and nvmet run in the guest: nvmet on a drive, basaltd attached to nvmet.
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd attaches others' namespaces")
        namespace = RemoteNamespace(1, make_image(self._folder / "behind.img", SIZE_MIB),
                                    nqn=NQN_BEHIND, ports=(4431, 4432))
        # What basaltd has to prove itself with, by the name of its configuration.
        secrets = {
            "none": {}, "host": {"dhchap_key": "SECRET"}, "wrong": {"dhchap_key": "OTHER_SECRET"},
            "both": {"dhchap_key": "SECRET", "dhchap_ctrlr_key": "CONTROLLER_SECRET"},
            "impostor": {"dhchap_key": "SECRET", "dhchap_ctrlr_key": "OTHER_SECRET"},
        }
        files = {}
        for name, keys in secrets.items():
            namespace.attach_options = {"hostnqn": HOST_ALLOWED, **keys}
            config = self._folder / f"{name}.json"
            config.write_text(json.dumps(saved_configuration(
                [Subsystem(NQN, [namespace])], 4420, 8009, ["127.0.0.1"],
                {key: f"/tmp/{key}" for key in SECRETS} if keys else None)))
            files[f"/e2e/{name}.json"] = config
        self._run_beside_nvmet(namespace, files, SECRETS)

    def test_paths(self):
        # The same, but the script tells basaltd what to attach.
        if self._settings.target != "basaltd":
            self.skipTest("only basaltd attaches others' namespaces")
        config = self._folder / "config.json"
        config.write_text(json.dumps(saved_configuration(
            [Subsystem(NQN, [])], 4420, 8009, ["127.0.0.1"])))
        self._run_beside_nvmet(
            Namespace(1, make_image(self._folder / "behind.img", SIZE_MIB)),
            {"/e2e/config.json": config}, {"NQN_OTHER": NQN_OTHER},
            {"/bin/basalt-perf": self._settings.programs / "basalt-perf", **self._block_journal()})

    def _run_beside_nvmet(self, namespace, files, environment, programs=None):
        """A guest with basaltd, and a drive for nvmet, which are both started by the script."""
        drive = ["-drive", f"file={namespace.path},if=none,id=behind,format=raw,discard=unmap",
                 "-device", "virtio-blk-pci,drive=behind,write-cache=off"]
        self._run_guest(
            {"TARGET_ADDRESS": "127.0.0.1", "TARGET_PORT": "4420", "FEATURES": "",
             "NQN_BEHIND": NQN_BEHIND, "UUID": namespace.uuid, **environment},
            files={"/e2e/nvmet.sh": HERE / "guest" / "nvmet.sh", **files}, qemu_arguments=drive,
            memory_mib=2048,
            programs={"/bin/basaltd": self._settings.programs / "basaltd", **(programs or {})})
        self._passed = True

    def _namespace(self, nsid, *, block_bytes=512, name="volume"):
        path = make_image(self._folder / f"{name}{nsid}.img", SIZE_MIB)
        return Namespace(nsid, path, block_bytes)

    def _make_pool(self):
        """A file with the pool "pool0" and its volume."""
        image = self._folder / "pool.img"
        make_pool(self._folder, self._settings.programs / "basaltd", image, size_mib=256,
                  volume_mib=128)
        return image

    def _block_journal(self):
        return {"/bin/block-journal": self._settings.programs / "block-journal"}

    def _run(self, subsystems, *, on_request=None, environment=None, **guest_options):
        """Starts the target, runs the case's script in a guest, ends the target in order."""
        target = self._make_target(subsystems)
        target.start()
        self.addCleanup(lambda: target.kill() if target.is_running() else None)
        self._run_guest({**target.environment(), **(environment or {})},
                        on_request=lambda words: on_request(target, words), **guest_options)
        target.stop()
        self._passed = True

    def _run_guest(self, environment, **options):
        """Boots the kernel and runs the case's script in it."""
        Guest(self._kernel, (HERE / "cases" / f"{self._case}.sh").read_text(),
              environment={**environment, "NQN": NQN, "NQN_PRIVATE": NQN_PRIVATE,
                           "HOST_ALLOWED": HOST_ALLOWED,
                           "FIRST_BLOCKS": str((SIZE_MIB << 20) // 512)},
              log_path=self._folder / "guest.log", echo_to=self._settings.console,
              **options).run()

    def _make_target(self, subsystems):
        if self._settings.target == "nvmet":
            return NvmetTarget(self._folder, subsystems)
        return BasaltTarget(self._folder, subsystems, self._settings.programs / "basaltd")
