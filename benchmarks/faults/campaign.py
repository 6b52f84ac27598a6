"""A fault campaign: hurt small studies at random moments and compare each with an undisturbed twin.

python benchmarks/faults/campaign.py --studies 20 --faults 100 --minutes 240 [--seed 0] [--place DIR]
sudo PYTHON=$PWD/.venv/bin/python HEAD_CPUS=0 cluster/two_nodes.sh DIR \
    .venv/bin/python benchmarks/faults/campaign.py --place DIR --studies 4 --faults 20

Faults: kill -9 of a worker, of the driver, of the raylet and of the tracking server; a full disk (a small tmpfs,
where one can be mounted); a damaged newest checkpoint together with a killed driver. On the two nodes of the second
command, where the trials run on the other node than the driver: the network between them is cut, for seconds or for
so long that Ray gives the node up; the driver and the server are killed; a checkpoint is damaged. Most of the faults
come right after an epoch, the others at any moment, that of a start or of the test included. After each fault the
same command is started again where the driver is gone. The studies use the phantom's smallest setting, one trial at a
time, so that trials, suggestions, metrics, runs and their rows must all equal the twin's. Exit status 1 where
something differs.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from disturbed_study import SEARCH, DisturbedStudy, differences, wait_for
from processes import descendants, kill

KINDS = ("worker", "driver", "raylet", "server", "disk", "checkpoint")
KINDS_ON_A_CLUSTER = ("network", "driver", "server", "checkpoint")
LONGEST_CUT_SECONDS = 45.0
"""Of the network; Ray gives a node up after about 20 s."""
LONGEST_PAUSE_SECONDS = 15.0
"""Before a fault that waits for no epoch."""
ON_A_CLUSTER = "RAY_ADDRESS" in os.environ
TMPFS_MB = 48
WORKERS = ("ray::ImplicitFunc", "ray::trainable")
LONGEST_EPOCH_SECONDS = 120.0
LONGEST_SECONDS = 900.0
"""That one driver may take before it counts as hung."""


class Server:
    """A tracking server that can be killed and started again on the same database."""

    def __init__(self, place: Path) -> None:
        self._place = place
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._place / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._place / "artifacts")]
        with (self._place / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._place,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # starts in half the time
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 300
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.5)
        raise TimeoutError("the tracking server did not start within 300 s")

    def kill(self) -> bool:
        """Kill it and all its workers."""
        if self._process is None:
            return False
        for pid in [*descendants(self._process.pid), self._process.pid]:
            kill(pid)
        self._process.wait()
        return True


class Disk:
    """A small tmpfs that the studies write to, and a balloon that fills it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "tmpfs", str(folder)]
        can = shutil.which("mount") is not None and not ON_A_CLUSTER  # another node would not see it
        self.mounted = can and subprocess.run(command, capture_output=True, check=False).returncode == 0
        self._folder, self._balloon = folder, folder / "balloon"

    def fill(self) -> bool:
        """Leave no room."""
        if not self.mounted:
            return False
        try:
            with self._balloon.open("wb", buffering=0) as stream:
                while True:
                    stream.write(b"\0" * 65536)
        except OSError:
            return True

    def clear(self) -> None:
        """Give the room back."""
        self._balloon.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self._folder)], capture_output=True, check=False)


def hurt(kind: str, study: DisturbedStudy, server: Server, disk: Disk, draw: random.Random) -> bool:
    """Do one fault to a study; give whether there was something to hurt."""
    if kind == "worker":
        return study.kill_below(*WORKERS)
    if kind == "driver":
        return study.kill_driver()
    if kind == "raylet":
        return study.kill_below("/raylet/raylet ")
    if kind == "server":
        server.kill()
        time.sleep(draw.uniform(1, 10))
        server.start()
        return True
    if kind == "network":
        return cut_network(draw.choice((draw.uniform(0.5, 8), draw.uniform(20, LONGEST_CUT_SECONDS))))
    if kind == "disk":
        filled = disk.fill()
        time.sleep(draw.uniform(1, 6))
        disk.clear()
        return filled
    return study.corrupt_checkpoint(draw)


def cut_network(seconds: float) -> bool:
    """Take this node's network down for so long."""
    for state, pause in (("down", seconds), ("up", 0.0)):
        if subprocess.run(["ip", "link", "set", "eth0", state], capture_output=True, check=False).returncode:
            return False
        time.sleep(pause)
    return True


def await_moment(study: DisturbedStudy, draw: random.Random) -> None:
    """Wait until shortly after the next epoch, or for any while, but not longer than the driver lives."""
    if draw.random() < 0.7:
        seen = study.epochs()
        wait_for(study, lambda s: s.epochs() > seen, LONGEST_EPOCH_SECONDS)
        time.sleep(draw.uniform(0, 0.5))
    else:
        wait_for(study, lambda _: False, draw.uniform(0, LONGEST_PAUSE_SECONDS))


def disturb(study: DisturbedStudy, faults: int, server: Server, disk: Disk, draw: random.Random, until: float) -> int:
    """Run a study to its end through its faults; give how often a driver hung."""
    hung = 0
    study.start()
    began = time.monotonic()
    while time.monotonic() < until:
        status = study.ended()
        if status is None and len(study.done) < faults:
            await_moment(study, draw)
            kinds = list(KINDS_ON_A_CLUSTER if ON_A_CLUSTER else KINDS)
            while kinds and study.ended() is None:
                kind = kinds.pop(draw.randrange(len(kinds)))
                if hurt(kind, study, server, disk, draw):
                    study.done.append(kind)
                    break
        elif status is None:
            time.sleep(0.5)
        elif status == 0:
            return hung
        else:
            study.clear()
            study.start()
            began = time.monotonic()
        if time.monotonic() - began > LONGEST_SECONDS and study.ended() is None:
            hung += 1
            study.kill_driver()
            study.clear()
    study.kill_driver()
    study.clear()
    raise TimeoutError(f"{study.name} did not end in time")


def main() -> int:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20, metavar="N")
    parser.add_argument("--faults", type=int, default=100, metavar="M", help="in all, spread over the studies")
    parser.add_argument("--minutes", type=float, default=240.0, metavar="T", help="no study is begun after so long")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="different studies; each seed has one twin")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--nested", action="store_true", help="studies of two folds that retrain with two seeds")
    parser.add_argument("--place", type=Path, metavar="DIR", help="keeps all that is written; a temporary folder else")
    options = parser.parse_args()
    more = ("--num-samples", "4", *(("--folds", "2", "--seeds", "2") if options.nested else ()))
    place = (options.place or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    (place / "out").mkdir(parents=True, exist_ok=True)
    (place / "faults.toml").write_text(SEARCH)
    until = time.monotonic() + 60 * options.minutes
    draw, server, disk = random.Random(options.seed), Server(place), Disk(place / "out" / "disturbed")
    if not disk.mounted:
        print("no tmpfs could be mounted: the disk is not filled in this campaign")
    kinds, wrong, ended, hung = Counter[str](), Counter[str](), 0, 0
    twins: dict[int, DisturbedStudy] = {}
    server.start()
    try:
        for number in range(options.studies):
            if time.monotonic() > until:
                break
            seed = number % options.seeds
            if seed not in twins:
                twins[seed] = DisturbedStudy(place, f"twin-{seed}", seed, server.uri, more)
                disturb(twins[seed], 0, server, disk, draw, until)
            study = DisturbedStudy(place, f"disturbed/{number}", seed, server.uri, more)
            (place / "disturbed").mkdir(exist_ok=True)
            share = -(-(options.faults - kinds.total()) // (options.studies - number))
            try:
                hung += disturb(study, share, server, disk, draw, until)
            except TimeoutError as error:
                print(error)
                kinds.update(study.done)
                continue
            found = differences(study, twins[seed])
            kinds.update(study.done)
            wrong.update(found)
            ended += 1
            shown = {name: count for name, count in found.items() if count} or "equal to its twin"
            print(f"study {number}, seed {seed}: {study.starts} drivers, {', '.join(study.done)}: {shown}", flush=True)
            shutil.rmtree(study.out, ignore_errors=True)
    finally:
        server.kill()
        disk.unmount()
    print(json.dumps({"studies": ended, "faults": dict(kinds), "hung drivers": hung, "not as the twin": dict(wrong)}))
    return int(any(wrong.values()) or not ended)


if __name__ == "__main__":
    sys.exit(main())
