"""Checks that every node of a cluster has the shared folders, this package and equal versions, before a trial starts.

A study's folders are on storage that all nodes share. The driver writes prepared patients to the cache, where trials
read them; trials write models, which the driver reads. If a path were a different folder on some node, the study would
fail hours later, or give wrong results. So the driver creates a marker folder, and a task on every node looks for it.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jointnet.system.home import can_write, nearest_folder
from jointnet.system.versions import versions

COMPARED = ("python", "ray", "torch", "numpy")
"""Python and the packages that influence a trial. A suffix of the version such as `+cpu` may differ."""
SECONDS_TO_ANSWER = 300.0
"""Time limit for a busy node to start a process that imports this package."""
SECONDS_TO_APPEAR = 10.0
"""A network file system may show a new folder late."""


@dataclass(frozen=True)
class SharedFolder:
    """A folder that must be the same on all nodes.

    Attributes:
        option: the command-line option of the folder.
        path: absolute path.
        written: whether trials write to it, not only read.
    """

    option: str
    path: Path
    written: bool


@dataclass(frozen=True)
class NodeAnswer:
    """The result of a node: options of the folders that it does not see or cannot write, and its versions."""

    unseen: tuple[str, ...]
    unwritable: tuple[str, ...]
    versions: Mapping[str, str]


def check_nodes(names: Mapping[str, str], shared: Sequence[SharedFolder], source: str = "--address") -> list[str]:
    """Check every node of the cluster that this process is connected to.

    Args:
        names: names of the nodes by id.
        shared: the shared folders. Missing ones are created.
        source: the option or variable that names the cluster, for the messages.

    Returns:
        One line for each folder that some nodes do not see or cannot write, for each node that does not answer, and for
        each difference in versions.
    """
    mark = f".node-check-{uuid4().hex}"
    marks = [folder.path / mark for folder in shared]
    try:
        for path in marks:
            path.mkdir(parents=True)
        answers, errors = _run_on_nodes(names, tuple(shared), mark, source)
    except OSError as error:
        return [f"--out, --cache: must be folders that can be written, got {error}"]
    finally:
        for path in marks:
            shutil.rmtree(path, ignore_errors=True)
    return errors + answer_errors(answers, shared, versions(COMPARED))


def folder_errors(shared: Sequence[SharedFolder]) -> list[str]:
    """Return the errors of folders on this machine, without creating any.

    A folder must be writable, or it must be possible to create it. An existing folder that trials only read need not be
    writable.
    """
    errors = []
    for folder in shared:
        there = nearest_folder(folder.path)
        if not (can_write(there) or (there == folder.path and there.is_dir() and not folder.written)):
            above = "" if there == folder.path else f" below {there}"
            errors.append(f"{folder.option}: must be a folder that can be written, got {folder.path}{above}")
    return errors


def check_here(
    shared: Sequence[SharedFolder], mark: str, node_id: str, wait_seconds: float = SECONDS_TO_APPEAR
) -> NodeAnswer:
    """Check this node: whether each folder holds the marker and can be written. Runs as a Ray task on the node."""
    unseen, unwritable = [], []
    until = time.monotonic() + wait_seconds
    for folder in shared:
        while not (folder.path / mark).is_dir() and time.monotonic() < until:
            time.sleep(0.2)
        if not (folder.path / mark).is_dir():
            unseen.append(folder.option)
            continue
        try:
            if folder.written:
                (folder.path / mark / node_id).touch()
        except OSError:
            unwritable.append(folder.option)
    return NodeAnswer(tuple(unseen), tuple(unwritable), versions(COMPARED))


def answer_errors(
    answers: Mapping[str, NodeAnswer], shared: Sequence[SharedFolder], here: Mapping[str, str]
) -> list[str]:
    """Return the errors in the results of the nodes.

    Args:
        answers: results by the nodes' names.
        shared: the folders that were checked.
        here: the driver's versions.
    """
    errors = []
    for folder in shared:
        rule = f"{folder.option}: must be one folder that all nodes share, got {folder.path}, which"
        unseen = [name for name, answer in answers.items() if folder.option in answer.unseen]
        unwritable = [name for name, answer in answers.items() if folder.option in answer.unwritable]
        if unseen:
            errors.append(f"{rule} {_who(unseen)} not see")
        if unwritable:
            errors.append(f"{rule} {_who(unwritable)} see but not write")
    for package in COMPARED:
        expected = _public(here.get(package, "none"))
        for name, answer in answers.items():
            version = _public(answer.versions.get(package, "none"))
            if version != expected:
                errors.append(
                    f"{package}: must have one version on all nodes, got {expected} here and {version} on {name}"
                )
    return errors


def _run_on_nodes(
    names: Mapping[str, str], shared: tuple[SharedFolder, ...], mark: str, source: str
) -> tuple[dict[str, NodeAnswer], list[str]]:
    task = ray.remote(num_cpus=0, max_retries=0)(check_here)
    references = {
        node_id: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
            shared, mark, node_id
        )
        for node_id in names
    }
    answers, errors = {}, []
    until = time.monotonic() + SECONDS_TO_ANSWER
    for node_id, reference in references.items():
        try:
            answers[names[node_id]] = ray.get(reference, timeout=max(0.1, until - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            errors.append(
                f"{source}: every node must answer within {SECONDS_TO_ANSWER:g} s, got none from {names[node_id]}"
            )
        except Exception as error:  # Ray raises many types for a node that is lost or lacks a package
            cause = getattr(error, "cause", None) or error
            reason = " ".join(str(cause).split())[:300] or type(cause).__name__
            errors.append(f"{source}: every node must be able to run this package, got {names[node_id]}: {reason}")
    return answers, errors


def _who(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'does' if len(names) == 1 else 'do'}"


def _public(version: str) -> str:
    return version.partition("+")[0]
