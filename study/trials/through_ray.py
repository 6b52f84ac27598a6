"""Transfer of patients to the nodes and of files back to the driver's disk through Ray, if no folder is shared.

**Patients**: the arrays that trials read are put into Ray's object store once for a study. Ray copies them to a node
when its first trial needs them. All workers of a node read that copy, in shared memory, without copies of their own.

**Files**: an actor on the driver's node, `FileKeeper`, writes them. A worker waits for it before it reports an epoch.
So trials are not faster than the disk, at most one model and one checkpoint of each running trial are in transfer, and
ledger and disk agree as in a shared folder. Files within the report would need no actor, but the driver would then
write them in the loop that decides about all trials. The actor ends with the driver. If it dies alone, Ray starts it
again and repeats the call, which writes the same.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jointnet.batches.dataset import LabelledPatient
from jointnet.evaluate.rows import EvaluatedPatient
from jointnet.model_path import MODEL_FILE
from jointnet.preparation.prepared_patient import NetworkArrays
from jointnet.train.checkpoint_files import checkpoint_files
from study.trials.file_keeper import Content, FileKeeper
from study.trials.trial import ArmTask
from study.trials.trial_files import CHECKPOINTS, AttemptFiles

TEMPORARY = "jointnet-trial-"
"""Prefix of the temporary folders on nodes."""
SECONDS_TO_LOCK = 60.0
"""A temporary folder that is not locked after this time was left by a killed worker."""


@dataclass(frozen=True)
class StoredPatient:
    """A prepared patient in Ray's object store: a training or a validation patient, without a path.

    Attributes:
        patient, digest: as of the prepared patient.
        stored: reference to its arrays by name.
    """

    patient: str
    digest: str
    stored: Any = field(compare=False)

    @cached_property
    def _arrays(self) -> Mapping[str, Any]:
        """The arrays, read-only, in the shared memory of this node."""
        arrays: Mapping[str, Any] = ray.get(self.stored)
        return arrays

    def images(self) -> NDArray[np.float16]:
        """Return the images (slice, 2, row, column) of a validation patient, cine first."""
        images: NDArray[np.float16] = self._arrays["images"]
        return images

    def labels(self) -> NDArray[np.uint8]:
        """Return the class indices (slice, 2, row, column) of a validation patient."""
        labels: NDArray[np.uint8] = self._arrays["labels"]
        return labels

    def field(self) -> NDArray[np.bool_]:
        """Return the common field (slice, row, column) of a validation patient."""
        common: NDArray[np.bool_] = self._arrays["field"]
        return common

    def labelled(self) -> NDArray[np.bool_]:
        """Return which structures of `structures.STRUCTURES` of a training patient are labelled in each image."""
        labelled: NDArray[np.bool_] = self._arrays["labelled"]
        return labelled

    def network_arrays(self, block: int) -> NetworkArrays:
        """Return the arrays of a training patient at a resolution that trials of its arm have."""
        return NetworkArrays(*self._arrays[f"block {block}"])


class PatientStore:
    """The prepared patients of a study in Ray's object store, each put there once."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, tuple[int, ...]], Any] = {}

    def sent(self, task: ArmTask) -> ArmTask:
        """Return the task with its patients in the object store."""
        blocks = task.downsamplings or (task.settings.training.downsampling,)
        return replace(
            task,
            training=tuple(self._put(each, blocks, lambda each: _trained(each, blocks)) for each in task.training),
            validation=tuple(self._put(each, (), _validated) for each in task.validation),
        )

    def _put(self, patient: Any, blocks: tuple[int, ...], arrays: Callable[[Any], Any]) -> StoredPatient:
        key = patient.digest, blocks
        if key not in self._stored:
            self._stored[key] = ray.put(arrays(patient))
        return StoredPatient(patient.patient, patient.digest, self._stored[key])


def _trained(patient: LabelledPatient, blocks: Sequence[int]) -> dict[str, Any]:
    """Return the arrays of a patient that a training reads. They are plain arrays, because Ray copies memory maps."""
    by_block = {f"block {block}": tuple(map(np.asarray, patient.network_arrays(block))) for block in blocks}
    return {"labelled": patient.labelled(), **by_block}


def _validated(patient: EvaluatedPatient) -> dict[str, Any]:
    """Return the arrays of a patient that a validation reads."""
    arrays = {"images": patient.images(), "labels": patient.labels(), "field": patient.field()}
    return {name: np.asarray(array) for name, array in arrays.items()}


class FilesThroughRay:
    """Attempts train in a temporary folder of their node, and send each new file to the keeper.

    Args:
        study: the study's folder on the disk of this process, the driver.
    """

    def __init__(self, study: Path) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        keeper = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(FileKeeper)
        self._keeper = keeper.options(scheduling_strategy=here).remote(study)

    @contextmanager
    def attempt(self, folder: Path, number: int) -> Iterator[AttemptFiles]:
        """Fetch the trial's checkpoints into a temporary folder, which is removed afterwards."""
        with temporary_folder() as above:
            own = above / folder.name
            (own / CHECKPOINTS).mkdir(parents=True)
            for name, content in _result(self._keeper.begin.remote(folder, number)).items():
                content.tofile(own / CHECKPOINTS / name)
            yield SentFiles(own, lambda files: _result(self._keeper.keep.remote(folder, number, files)))


class SentFiles:
    """An attempt whose new files are sent after each epoch.

    Args:
        folder: the folder that it trains in.
        send: returns when these files are on the driver's disk.
    """

    def __init__(self, folder: Path, send: Callable[[Mapping[str, Content]], Any]) -> None:
        self.folder = folder
        self._send = send
        self._sent = self._versions()

    def keep(self) -> None:
        """Send the model and the newest checkpoint where they are new, and wait for their arrival."""
        versions = self._versions()
        new = [path for path, version in versions.items() if self._sent.get(path) != version]
        if new:
            self._send({path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in new})
        self._sent = versions

    def _versions(self) -> dict[Path, tuple[int, ...]]:
        """Return the version of each file, by which a new file of the same name is recognised, the model first."""
        paths = [self.folder / MODEL_FILE, *checkpoint_files(self.folder / CHECKPOINTS)[:1]]
        stats = {path: path.stat() for path in paths if path.is_file()}
        return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder on this node, and remove it afterwards, and those of killed workers.

    A worker holds a lock on its folder, which the operating system frees when it dies.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # another user's, or a running worker's
            if time.time() - left.stat().st_mtime > SECONDS_TO_LOCK:
                with _locked(left):
                    shutil.rmtree(left, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    try:
        with _locked(own):
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder. Raises OSError where another process holds its lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _result(reference: Any) -> Any:
    """Return the result of a call of the keeper, or raise its exception as it was raised there, with its `errno`."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
