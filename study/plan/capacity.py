"""Number of trials that fit on the nodes, their device, and resource requests that cannot be met. Does not use Ray."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from study.plan.plan import Autoscaler, Node, Resources

STEPS = 10_000
"""Ray counts resources in ten-thousandths. 4 CPUs therefore hold 40 trials of 0.1 CPU, not 39."""

MEGABYTES_PER_TRIAL = 700
"""Memory of a worker with the settings `quick`, the phantom and one CPU (`docs/explanation/speed.md`)."""
MEGABYTES_BESIDE_TRIALS = 900
"""Memory of the driver (540) and of Ray's own processes: proportional set sizes in a search of `smoke`."""


@dataclass(frozen=True)
class Request:
    """The resources that the command line requests.

    Attributes:
        device: `auto`, `cpu` or `cuda`; `auto` is `cuda` where a node has a GPU.
        cpus_per_trial: CPU cores of one trial.
        gpus_per_trial: GPUs of one trial, a share of one GPU below 1; None for 1 on `cuda` and 0 on `cpu`.
        concurrent: number of concurrent trials; None for as many as fit.
        waits: whether to wait for nodes also where the cluster has no autoscaler.
    """

    device: str
    cpus_per_trial: float
    gpus_per_trial: float | None
    concurrent: int | None
    waits: bool = False


def resource_errors(request: Request, nodes: Sequence[Node], autoscaler: Autoscaler | None = None) -> list[str]:
    """Return the resource requests that no node can satisfy, as errors. Ray would wait for them forever.

    Nodes that the autoscaler may start count as if they were there. Where it is unknown which nodes may come, only what
    is wrong in itself is an error, and `auto` where no node has a GPU: it would mean the CPUs of the head.
    """
    errors = []
    possible = [*nodes, *(autoscaler.nodes or () if autoscaler else ())]
    unknown = request.waits or (autoscaler is not None and autoscaler.nodes is None)
    has_gpu = any(node.gpus for node in possible)
    described = describe_cluster(nodes, autoscaler)
    gpus = request.gpus_per_trial
    if not math.isfinite(request.cpus_per_trial) or not math.isfinite(gpus or 0):
        return []  # the command line's own bounds refuse them
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        errors.append(f"--gpus-per-trial: must be whole where it is above 1, got {gpus:g}")
    if request.device == "cpu" and gpus:
        errors.append(f"--gpus-per-trial: must be 0 with --device cpu, got {gpus:g}")
    if request.device == "cuda" and gpus == 0:
        errors.append("--gpus-per-trial: must be above 0 with --device cuda, got 0")
    if request.device == "cuda" and not has_gpu and not unknown:
        errors.append(f"--device: must be cpu or auto where no node has a GPU, got cuda ({described})")
    if (
        request.device == "auto"
        and gpus is None
        and not has_gpu
        and autoscaler is not None
        and autoscaler.nodes is None
    ):
        errors.append(
            "--device: must be cpu or cuda where no node has a GPU now and it cannot be read here which nodes the "
            f"autoscaler may start, got auto ({described})"
        )
    if errors:
        return errors
    resources = resources_of(request, nodes, autoscaler)
    if not unknown and not trials_now(possible, resources):
        errors.append(
            f"--cpus-per-trial, --gpus-per-trial: one node must have them, got {resources.cpus_per_trial:g} CPU and "
            f"{resources.gpus_per_trial:g} GPU ({described})"
        )
    return errors


def resources_of(request: Request, nodes: Sequence[Node], autoscaler: Autoscaler | None = None) -> Resources:
    """Return the resources of a trial and the number of concurrent trials: as requested, else as many as may fit."""
    gpus = request.gpus_per_trial
    if gpus is None:
        possible = [*nodes, *(autoscaler.nodes or () if autoscaler else ())]
        needs_gpu = request.device == "cuda" or (request.device == "auto" and any(node.gpus for node in possible))
        gpus = 1.0 if needs_gpu else 0.0
    one = Resources(1, request.cpus_per_trial, gpus, "cuda" if gpus and request.device != "cpu" else "cpu")
    fitting = max(1, most_trials(nodes, autoscaler, one))
    return Resources(request.concurrent or fitting, one.cpus_per_trial, one.gpus_per_trial, one.device)


def trials_now(nodes: Sequence[Node], resources: Resources) -> int:
    """Return the number of trials that fit on these nodes."""
    return sum(trials_on(node, resources) for node in nodes)


def most_trials(nodes: Sequence[Node], autoscaler: Autoscaler | None, resources: Resources) -> int:
    """Return the number of trials that fit once the autoscaler has started all its nodes.

    Nodes that are there now, except the head, may be its own, so they are not counted twice.
    """
    now = trials_now(nodes, resources)
    if autoscaler is None or autoscaler.nodes is None:
        return now
    each = sorted((trials_on(node, resources) for node in autoscaler.nodes), reverse=True)
    heads = [trials_on(node, resources) for node in nodes if node.is_head]
    return max(now, sum(each[: autoscaler.most]) + sum(heads))


def trials_on(node: Node, resources: Resources) -> int:
    """Return the number of trials that fit on a node. A trial's share of a GPU is never split over two GPUs."""
    by_cpus = _times(node.cpus, resources.cpus_per_trial)
    if node.memory_bytes is not None:
        by_cpus = min(by_cpus, trials_in_memory(node.memory_bytes))
    gpus = resources.gpus_per_trial
    if not gpus:
        return by_cpus
    by_gpus = _times(node.gpus, gpus) if gpus >= 1 else int(node.gpus) * _times(1.0, gpus)
    return min(by_cpus, by_gpus)


def larger_share(gpus: float) -> float:
    """Return the share of a GPU with which about a quarter fewer trials, at least one fewer, share it.

    A share that only one trial can have, and whole GPUs, are returned as they are.
    """
    trials = _times(1.0, gpus) if gpus else 0
    return math.floor(STEPS / (trials * 3 // 4)) / STEPS if trials > 1 else gpus


def trials_in_memory(memory_bytes: int) -> int:
    """Return the number of trials that fit in memory, at least one: an estimate must not reject a study."""
    return max(1, int((memory_bytes / 1e6 - MEGABYTES_BESIDE_TRIALS) / MEGABYTES_PER_TRIAL))


def describe_nodes(nodes: Sequence[Node]) -> str:
    """Return a text about the nodes, such as `2 nodes of 4 CPU and 1 GPU`."""
    kinds = Counter((node.cpus, node.gpus) for node in nodes)
    parts = [
        f"{count} node{'s' if count > 1 else ''} of {cpus:g} CPU and {gpus:g} GPU"
        for (cpus, gpus), count in sorted(kinds.items())
    ]
    return ", ".join(parts) or "no nodes"


def describe_cluster(nodes: Sequence[Node], autoscaler: Autoscaler | None) -> str:
    """Return a text about the nodes that are there, and about those that the autoscaler may have."""
    if autoscaler is None:
        return describe_nodes(nodes)
    if autoscaler.nodes is None:
        return f"{describe_nodes(nodes)}; an autoscaler for nodes that are not known here"
    limit = f" (at most {autoscaler.most})" if autoscaler.most < len(autoscaler.nodes) else ""
    return f"{describe_nodes(nodes)}; an autoscaler for {describe_nodes(autoscaler.nodes)}{limit}"


def _times(total: float, each: float) -> int:
    """Return how many times `each` fits into `total`, in Ray's units of 1 / STEPS."""
    return round(total * STEPS) // max(1, round(each * STEPS))
