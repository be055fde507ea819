"""A replicated volume on this machine: three daemons with replicas, and two that may be its
head."""

import dataclasses
import time

from target import (READY_TIMEOUT_S, BasaltTarget, Namespace, Subsystem, TargetFailure, free_port,
                    make_image)

CLUSTER = "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa"
VOLUME = 7
STORES = 3


@dataclasses.dataclass
class ReplicatedNamespace(Namespace):
    """A replicated volume. `create`: parameters of bdev_replicated_create."""
    create: dict = dataclasses.field(default_factory=dict)

    def bdev_calls(self):
        return [{"method": "bdev_replicated_create", "params": self.create}]


class Cluster:
    """The daemons. `stores`: by "0", "1", "2". `heads`: "this", which is the head first, and
    "other"; both are standbys, so that whoever comes back waits until it is told."""

    def __init__(self, folder, program, nqn, size_mib):
        self.stores, self.heads = {}, {}
        self._places = []
        for number in range(STORES):
            self._add_store(folder, program, str(number), size_mib)
        volume = Namespace(1, folder / "vol1")
        for name, first_cntlid in ("this", 1), ("other", 1000):
            create = {"name": "vol1", "uuid": volume.uuid, "volume": VOLUME,
                      "size_in_mib": size_mib, "cluster": CLUSTER, "replicas": self._places,
                      "map_file": str(folder / "vol1.map"), "standby": True,
                      "drop_timeout_ms": 1000, "takeover_wait_ms": 1000}
            namespace = ReplicatedNamespace(1, volume.path, uuid=volume.uuid, create=create)
            subsystem = Subsystem(nqn, [namespace], options={
                "ana_reporting": True, "min_cntlid": first_cntlid,
                "max_cntlid": first_cntlid + 998})
            self.heads[name] = self._make(folder, program, name, [subsystem], [])

    def _add_store(self, folder, program, number, size_mib):
        image = make_image(folder / f"store{number}.img", 4 * size_mib)
        address = f"127.0.0.1:{free_port()}"
        calls = [{"method": "bdev_aio_create", "params": {
                     "filename": str(image), "name": "disk0", "block_size": 4096}},
                 {"method": "replication_start_server", "params": {
                     "address": address, "cluster": CLUSTER}}]
        nothing = [Subsystem("nqn.2026-01.io.basalt:store", [])]
        store = self.stores[number] = self._make(folder, program, f"store{number}", nothing, calls)
        store.start()
        drive = store.call("bdev_lvol_create_lvstore", {"bdev_name": "disk0", "lvs_name": "p"})
        add_drive = {"method": "replication_add_drive", "params": {"lvs_name": "p"}}
        store.call(add_drive["method"], add_drive["params"])
        store.call("replication_create_replica", {"volume": VOLUME, "size_in_mib": size_mib,
                                                  "lvs_name": "p"})
        store.calls.append(add_drive)
        self._places.append(f"{address}/{drive}")

    @staticmethod
    def _make(folder, program, name, subsystems, calls):
        (folder / name).mkdir()
        return BasaltTarget(folder / name, subsystems, program, calls)

    def start(self):
        """Starts the heads; "this" is the volume's."""
        for head in self.heads.values():
            head.start()
        self.do(["take-over", "this"])
        self.do(["wait-in-sync", "this"])

    def do(self, words):
        """What a guest's script asks for: kill, start, pause or resume a store or head;
        take-over HEAD; wait-in-sync HEAD; wait-out HEAD STORE; wait-standby HEAD."""
        verb, *about = words
        if verb in ("kill", "start", "pause", "resume"):
            getattr((self.stores | self.heads)[about[0]], verb)()
        elif verb == "take-over":
            head = self.heads[about[0]]
            head.call("bdev_replicated_take_over", {"name": "vol1"})
            self._wait(head, lambda volume: volume["state"] == "open")
        elif verb == "wait-in-sync":
            self._wait(self.heads[about[0]], lambda volume: all(
                replica["state"] == "in_sync" for replica in volume["replicas"]))
        elif verb == "wait-out":
            self._wait(self.heads[about[0]], lambda volume: volume["replicas"][
                int(about[1])]["state"] == "out")
        elif verb == "wait-standby":
            self._wait(self.heads[about[0]], lambda volume: volume["state"] == "standby")
        else:
            raise ValueError(f"unknown request {words}")

    @staticmethod
    def _wait(head, is_so):
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_so(volume := head.call("bdev_replicated_get", {"name": "vol1"})[0]):
            if time.monotonic() > deadline:
                raise TargetFailure(f"waited in vain; the volume: {volume}")
            time.sleep(0.05)

    def stop(self):
        """In order."""
        for target in *self.heads.values(), *self.stores.values():
            target.stop()

    def kill(self):
        """What is left, after a failure."""
        for target in *self.heads.values(), *self.stores.values():
            if target.is_running():
                target.kill()
