"""Slots for trials on the nodes of a cluster while nodes come and go, and the demand for more nodes.

The autoscaler starts nodes for tasks that wait for resources. So for every missing slot there is a waiting task that
requests the resources of a trial. The task does nothing, and it ends with this process in every case. A demand by
`ray.autoscaler.sdk.request_resources` would remain and keep machines running, and a cluster has only one. A node
without a trial has nothing else to do, so the autoscaler may end it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from study.machines.cluster import nodes_by_id
from study.plan.capacity import trials_now
from study.plan.plan import Resources

SECONDS_BETWEEN_LOOKS = 2.0
MOST_ASKED = 100
"""Largest number of slots that are requested at once."""


class ClusterSlots:
    """The slots of the cluster that this process is connected to.

    Args:
        resources: the resources of a trial.
        minutes: time limit of the wait for a node that a trial fits on.
        show: shows the text of the wait.
    """

    def __init__(self, resources: Resources, minutes: float, show: Callable[[str], None]) -> None:
        self._resources, self._show = resources, show
        self._wait = Wait(resources, minutes)
        self._looked_at, self._count = -SECONDS_BETWEEN_LOOKS, 0
        self._asking: list[Any] = []
        self._task = ray.remote(num_cpus=resources.cpus_per_trial, max_retries=0)(lambda: None)

    @property
    def overdue(self) -> str:
        """The reason why the wait is over; "" while there is a slot or the time limit is not reached."""
        return self._wait.overdue(time.monotonic())

    def look(self, wanted: float, gpus: float) -> int:
        """Return the number of slots now, and request the missing ones, up to the wanted number, from the autoscaler.

        Args:
            wanted: number of slots that can be used.
            gpus: GPUs of a trial now.
        """
        now = time.monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._resources = replace(self._resources, gpus_per_trial=gpus)
            self._count = trials_now(tuple(nodes_by_id().values()), self._resources)
            self._ask(wanted - self._count)
            if text := self._wait.text(self._count if wanted else 1, now):
                self._show(text)
        return self._count

    def close(self) -> None:
        """Cancel all requests."""
        self._ask(0)

    def _ask(self, missing: float) -> None:
        """Create or cancel tasks, so that as many wait as slots are missing."""
        waiting = ray.wait(self._asking, num_returns=len(self._asking), timeout=0)[1] if self._asking else []
        count = int(max(0, min(missing, MOST_ASKED)))
        for surplus in waiting[count:]:
            ray.cancel(surplus)
        task = self._task.options(num_gpus=self._resources.gpus_per_trial)
        self._asking = [*waiting[:count], *(task.remote() for _ in range(count - len(waiting)))]


class Wait:
    """The wait for a node that a trial fits on.

    Args:
        resources: the resources of a trial.
        minutes: time limit.
    """

    def __init__(self, resources: Resources, minutes: float) -> None:
        gpus = f" and {resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial else ""
        self._node = f"node with {resources.cpus_per_trial:g} CPU{gpus}"
        self._minutes = minutes
        self._since: float | None = None

    def text(self, slots: int, now: float) -> str:
        """Return the text of the wait at a moment in seconds; "" where there is no wait."""
        if slots:
            ended, self._since = self._since is not None, None
            return "training" if ended else ""
        self._since = now if self._since is None else self._since
        return f"waiting for a {self._node}: {(now - self._since) // 60:.0f} min of at most {self._minutes:g}"

    def overdue(self, now: float) -> str:
        """Return the reason why the wait is over; "" before the time limit."""
        if self._since is None or now - self._since < self._minutes * 60:
            return ""
        return f"no {self._node} was there for {self._minutes:g} minutes (--wait-for-nodes)"
