"""Check of every node of a cluster before a trial starts, and the choice how patients and models are transferred.

Every node must have this package and equal versions. Where all nodes share the study's folders, trials read prepared
patients from the cache and write models that the driver reads; otherwise both go through Ray. The same path may be
another folder on another node. So the driver creates a marker folder, and a task on every node looks for it.
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
from study.machines.fit_node import COMPARED, SECONDS_TO_APPEAR, version_errors
from study.plan.plan import Transfer

SECONDS_TO_ANSWER = 300.0
"""Time limit for a busy node to start a process that imports this package."""


@dataclass(frozen=True)
class SharedFolder:
    """A folder of the study that nodes may share.

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


def check_nodes(
    names: Mapping[str, str], shared: Sequence[SharedFolder], source: str = "--address", may_grow: bool = False
) -> tuple[list[str], Transfer]:
    """Check every node of the cluster that this process is connected to.

    Args:
        names: names of the nodes by id.
        shared: the study's folders on this machine. Missing ones are created.
        source: the option or variable that names the cluster, for the messages.
        may_grow: whether the cluster has an autoscaler, which may add nodes that cannot be asked now.

    Returns:
        One line for each node that is there and does not answer and for each difference in versions, and the way of the
        files.
    """
    mark = f".node-check-{uuid4().hex}"
    marks = [folder.path / mark for folder in shared]
    try:
        for path in marks:
            path.mkdir(parents=True)
        answers, errors = _run_on_nodes(names, () if may_grow else tuple(shared), mark, source)
    except OSError as error:
        return [f"--out, --cache: must be folders that can be written, got {error}"], Transfer()
    finally:
        for path in marks:
            shutil.rmtree(path, ignore_errors=True)
    here = versions(COMPARED)
    errors += [line for name, answer in answers.items() for line in version_errors(answer.versions, here, name)]
    return errors, transfer_of(answers, shared, may_grow)


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


def transfer_of(answers: Mapping[str, NodeAnswer], shared: Sequence[SharedFolder], may_grow: bool = False) -> Transfer:
    """Decide, once for a study, how patients and models go between the driver and the nodes.

    They stay in shared folders, which is faster, where all nodes see and can write them and no autoscaler can add a
    node that does not. In all other cases they go through Ray, where any node that joins later is welcome. Without an
    autoscaler a node can still be added by hand. A trial that starts on one that does not see the folders halts the
    study (`study.machines.fit_node`); the repeated command resumes it, finds that node here, and goes through Ray.

    Args:
        answers: results by the nodes' names.
        shared: the folders that were looked for.
        may_grow: whether the cluster has an autoscaler.
    """
    if may_grow:
        return Transfer(True, "the cluster's autoscaler may add nodes that do not share the folders")
    lacking = []
    for folder in shared:
        unseen = [name for name, answer in answers.items() if folder.option in answer.unseen]
        unwritable = [name for name, answer in answers.items() if folder.option in answer.unwritable]
        if unseen:
            lacking.append(f"{_who(unseen)} not see {folder.path} ({folder.option})")
        if unwritable:
            lacking.append(f"{_who(unwritable)} not write {folder.path} ({folder.option})")
    if lacking:
        return Transfer(True, ", ".join(lacking))
    seen = " and ".join(f"{folder.path} ({folder.option})" for folder in shared)
    return Transfer(False, f"all {len(answers)} nodes share {seen}" if len(answers) > 1 else f"its node has {seen}")


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
            if node_id not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
                continue  # it has left, as nodes may at any time
            cause = getattr(error, "cause", None) or error
            reason = " ".join(str(cause).split())[:300] or type(cause).__name__
            errors.append(f"{source}: every node must be able to run this package, got {names[node_id]}: {reason}")
    return answers, errors


def _who(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'does' if len(names) == 1 else 'do'}"
