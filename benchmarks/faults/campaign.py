r"""A fault campaign: disturb small studies at every moment of their lives and compare each with an undisturbed twin.

python benchmarks/faults/campaign.py --studies 20 --faults 100 --minutes 240 [--seed 0] [--place DIR]
sudo PYTHON=$PWD/.venv/bin/python HEAD_CPUS=0 cluster/two_nodes.sh DIR \
    .venv/bin/python benchmarks/faults/campaign.py --place DIR --studies 4 --faults 20
RAY_TMPDIR=/tmp/spot python benchmarks/faults/campaign.py --spot --studies 8 --faults 40

Faults: SIGKILL and SIGTERM to the driver; SIGKILL to a worker, the raylet or the tracking server; a full disk (a small
tmpfs, where one can be mounted); a damaged newest checkpoint together with a killed driver. On the two nodes of the
second command, where trials run on the other node than the driver: the network between them is cut, a while or for so
long that Ray declares the node dead; driver and server are killed; a checkpoint is damaged. A fault comes at one of the
moments in `moments.py`. With `--spot` the studies run on a cluster of this machine (`spot_nodes.py`), and each fault is
a node that is killed while another joins. Otherwise every second study starts in a fresh folder, without phantom, cache
and SQLite store; the others share these and a tracking server.

After the driver's end the same command is started again. The studies use the phantom's smallest setting, one trial at a
time, so that trials, suggestions, metrics, runs, their rows and the tables of the report must all equal the twin's.
Exit status 1 where something differs, or a study does not end.
"""

import argparse
import contextlib
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
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from disturbed_study import SEARCH, DisturbedStudy, differences, wait_for
from moments import MOMENTS, Moment, epoch_moments, moment_of
from spot_nodes import SpotNodes

from study.store_address import sqlite_address

ALWAYS = ("driver", "terminated", "disk", "server")
"""Kinds of faults that are possible at any moment."""
ON_A_CLUSTER = "RAY_ADDRESS" in os.environ
LONGEST_CUT_SECONDS = 45.0
"""Longest network outage. Ray declares a node dead after about 20 s."""
TMPFS_MB = 192
WORKERS = ("ray::ImplicitFunc", "ray::trainable")
WORKER_SECONDS = 5.0
"""A worker shows one of these names only while it trains, so it is looked for that long."""
LONGEST_SECONDS = 900.0
"""A driver that runs longer than this counts as hung."""
MOST_FAILURES = 3
"""Largest number of consecutive drivers that fail without a new fault. A study with more is stuck."""


class Server:
    """A tracking server that can be killed and restarted on the same database."""

    def __init__(self, place: Path) -> None:
        self._place = place
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--backend-store-uri", sqlite_address(self._place / "mlflow.db")]
        command += ["--artifacts-destination", str(self._place / "artifacts")]
        with (self._place / "server.log").open("ab") as log:
            env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # halves the start-up time
            self._process = subprocess.Popen(
                command, cwd=self._place, env=env, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 300
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.5)
        raise TimeoutError("the tracking server did not start within 300 s")

    def kill(self) -> bool:
        """Kill the server and its workers, and return whether it had been started."""
        if self._process is None:
            return False
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        return True


class Disk:
    """A small tmpfs that the studies write to, and a file that fills it."""

    def __init__(self, folder: Path, one_machine: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "tmpfs", str(folder)]
        can = shutil.which("mount") is not None and one_machine  # other nodes would not see the tmpfs
        self.mounted = can and subprocess.run(command, capture_output=True, check=False).returncode == 0
        self._folder, self._balloon = folder, folder / "balloon"

    def fill(self) -> bool:
        """Fill the disk and return whether that was possible."""
        if not self.mounted:
            return False
        try:
            with self._balloon.open("wb", buffering=0) as stream:
                while True:
                    stream.write(b"\0" * 65536)
        except OSError:
            return True

    def clear(self) -> None:
        """Delete the file that fills the disk."""
        self._balloon.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Unmount the tmpfs."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self._folder)], capture_output=True, check=False)


@dataclass(frozen=True)
class Targets:
    """What a fault can hit beside the study itself. `nodes` is None except with `--spot`."""

    server: Server
    disk: Disk
    nodes: SpotNodes | None


def hurt(kind: str, study: DisturbedStudy, targets: Targets, draw: random.Random) -> bool:
    """Inject one fault into a study and return whether there was a target for it."""
    server, disk = targets.server, targets.disk
    if kind == "node":
        assert targets.nodes is not None
        targets.nodes.replace(draw)
        return True
    if kind == "worker":
        return wait_for(study, lambda hurt: hurt.kill_below(*WORKERS), WORKER_SECONDS)
    if kind == "driver":
        return study.kill_driver()
    if kind == "terminated":
        return study.terminate()
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
    """Take this node's network interface down for a time, and return whether that was possible."""
    for state, pause in (("down", seconds), ("up", 0.0)):
        if subprocess.run(["ip", "link", "set", "eth0", state], capture_output=True, check=False).returncode:
            return False
        time.sleep(pause)
    return True


def kinds_at(moment: Moment, study: DisturbedStudy, targets: Targets, draw: random.Random) -> list[str]:
    """Return the kinds of faults that are possible at a moment, in random order."""
    if targets.nodes is not None:
        return ["node"]
    here = [*ALWAYS, *moment.kinds, *moment.kinds]  # kinds specific to the moment are twice as likely
    unfit = {"worker", "raylet", "disk"} if ON_A_CLUSTER else {"network"}
    unfit |= set() if study.server else {"server"}
    unfit |= set() if targets.disk.mounted else {"disk"}
    kinds = [kind for kind in here if kind not in unfit]
    draw.shuffle(kinds)
    return list(dict.fromkeys(kinds))


def deal_moments(count: int, fresh: bool, draw: random.Random) -> list[Moment]:
    """Return the moments of a study's faults in chronological order, all moments about equally often."""
    possible = [moment for moment in MOMENTS if fresh or not moment.fresh_only]
    dealt: list[Moment] = []
    while len(dealt) < count:
        dealt += draw.sample(possible, min(len(possible), count - len(dealt)))
    return sorted(dealt, key=MOMENTS.index)


def disturb(study: DisturbedStudy, moments: list[Moment], targets: Targets, draw: random.Random, until: float) -> int:
    """Run a study to its end with a fault at each of these moments, and return the number of hung drivers.

    Raises:
        TimeoutError: the study does not end, or is stuck.
    """
    hung = failures = 0
    study.start()
    began = time.monotonic()
    while time.monotonic() < until:
        status = study.ended()
        if status == 0:
            return hung
        if status is not None:
            failures += 1
            if failures > MOST_FAILURES:
                raise TimeoutError(f"{study.name} is stuck at status {status}")
            study.clear()
            study.start()
            began = time.monotonic()
        elif time.monotonic() - began > LONGEST_SECONDS:
            hung += 1
            study.kill_driver()
            study.clear()
        elif moments and moments[0].over(study):
            moments.pop(0)
        elif moments and moments[0].begun(study):
            time.sleep(draw.uniform(0, moments[0].seconds))
            moment = moment_of(study) or moments[0]  # the next moment may have begun during the pause
            moments.pop(0)
            for kind in kinds_at(moment, study, targets, draw):
                if study.ended() is None and hurt(kind, study, targets, draw):
                    study.done.append((moment.name, kind))
                    failures = 0
                    break
        else:
            time.sleep(0.1)
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
    parser.add_argument("--spot", action="store_true", help="kill nodes while others join, and nothing else")
    parser.add_argument("--place", type=Path, metavar="DIR", help="keeps all that is written; a temporary folder else")
    options = parser.parse_args()
    samples = "2" if options.spot else "4"
    more = ("--num-samples", samples, *(("--folds", "2", "--seeds", "2") if options.nested else ()))
    place = (options.place or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    (place / "out").mkdir(parents=True, exist_ok=True)
    (place / "disturbed").mkdir(exist_ok=True)
    (place / "faults.toml").write_text(SEARCH)
    until = time.monotonic() + 60 * options.minutes
    one_machine = not ON_A_CLUSTER and not options.spot
    draw, server, disk = random.Random(options.seed), Server(place), Disk(place / "out" / "disturbed", one_machine)
    if not disk.mounted:
        print("no tmpfs is mounted: the disk is not filled in this campaign")
    faults, wrong = Counter[tuple[str, str]](), Counter[str]()
    begun = ended = hung = 0
    twins: dict[int, DisturbedStudy] = {}
    server.start()
    nodes = SpotNodes() if options.spot else None
    targets = Targets(server, disk, nodes)
    try:
        for number in range(options.studies):
            if time.monotonic() > until:
                break
            seed = number % options.seeds
            if seed not in twins:
                twins[seed] = DisturbedStudy(place, f"twin-{seed}", seed, server.uri, more)
                disturb(twins[seed], [], targets, draw, until)
            fresh = number % 2 == 1 and one_machine
            study = DisturbedStudy(place, f"disturbed/{number}", seed, None if fresh else server.uri, more)
            share = -(-(options.faults - faults.total()) // (options.studies - number))
            begun += 1
            try:
                moments = epoch_moments(share, draw) if options.spot else deal_moments(share, fresh, draw)
                hung += disturb(study, moments, targets, draw, until)
                found = differences(study, twins[seed])
                ended += 1
            except TimeoutError as error:
                print(error, flush=True)
                found = {"not ended": 1}
            faults.update(study.done)
            wrong.update(found)
            done = ", ".join(f"{kind} ({moment})" for moment, kind in study.done)
            shown = {name: count for name, count in found.items() if count} or "equal to its twin"
            print(f"study {number}, seed {seed}: {study.starts} drivers, {done}: {shown}", flush=True)
            for path in study.leftovers():
                print(f"  left over: {path}")
            shutil.rmtree(study.out, ignore_errors=True)
    finally:
        server.kill()
        disk.unmount()
        if nodes is not None:
            nodes.close()
    print(f"studies {ended} of {begun} ended, {faults.total()} faults, {hung} hung drivers")
    for moment in MOMENTS:
        kinds = Counter({kind: count for (name, kind), count in faults.items() if name == moment.name})
        print(f"  {moment.name:<24} {kinds.total():>3}  {', '.join(f'{k} {n}' for k, n in sorted(kinds.items()))}")
    print(f"not as the twin: {json.dumps(dict(wrong))}")
    return int(any(wrong.values()) or not ended)


if __name__ == "__main__":
    sys.exit(main())
