"""The autoscaler of a Ray cluster: whether there is one, and which nodes it may start.

Ray keeps neither in one place. The cluster's store has the names of the types of the running nodes. They are made up,
`node_` and an id, where no autoscaler manages the nodes. The types themselves are in the configuration of the
autoscaler: in a file on the head (`ray up`, `ray start --autoscaling-config`), or in the Kubernetes resource that the
head's pod may read (KubeRay).
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from study.plan.plan import Autoscaler, Node

UNREADABLE = Autoscaler(None, 0)
"""The autoscaler of a cluster whose configuration cannot be read here."""
MADE_UP = "node_"
"""Prefix of the names of node types that Ray makes up where no autoscaler manages the nodes."""
SECONDS_TO_REPORT = 12.0
"""The head reports every 5 s, first after its start."""
KUBERNETES_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def find_autoscaler() -> Autoscaler | None:
    """Return the autoscaler of the cluster that this process is connected to; None where it has none."""
    if all(name.startswith(MADE_UP) for name in _type_names()):
        return None
    try:
        configuration = _configuration()
        return UNREADABLE if configuration is None else autoscaler_of(configuration)
    except Exception:  # many types, where the file or the resource cannot be read or is damaged
        return UNREADABLE


def autoscaler_of(configuration: Mapping[str, Any]) -> Autoscaler:
    """Return the autoscaler of a configuration of `ray up`."""
    nodes = list[Node]()
    for name, kind in configuration["available_node_types"].items():
        resources = kind.get("resources") or {}
        nodes += [Node(name, resources.get("CPU", 0.0), resources.get("GPU", 0.0))] * kind.get("max_workers", 0)
    return Autoscaler(tuple(nodes), min(len(nodes), configuration.get("max_workers", len(nodes))))


def _type_names() -> set[str]:
    """Return the names of the types of the running nodes; empty where the head reports none."""
    until = time.monotonic() + SECONDS_TO_REPORT
    if is_autoscaler_v2(fetch_from_server=True):
        status = get_cluster_status(_gcs_address())
        return {node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)}
    while True:
        report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}").get("autoscaler_report") or {}
        names = {*report.get("active_nodes", ()), *(report.get("node_type_mapping") or {}).values()}
        if names or time.monotonic() > until:
            return names
        time.sleep(0.5)


def _configuration() -> Mapping[str, Any] | None:
    """Return the configuration of the autoscaler; None where it is neither on this machine nor in Kubernetes."""
    if (path := _configuration_file(_gcs_address())) is not None:
        return dict(yaml.safe_load(path.read_text()))
    if "RAY_CLUSTER_NAME" in os.environ and KUBERNETES_NAMESPACE.is_file():
        from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

        return dict(AutoscalingConfigProducer(os.environ["RAY_CLUSTER_NAME"], KUBERNETES_NAMESPACE.read_text())())
    return None


def _configuration_file(gcs_address: str) -> Path | None:
    """Return the file that the autoscaler on this machine was started with; None where it runs elsewhere."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            words = [word.partition("=") for word in path.read_text(errors="replace").split("\0")]
            options = {name: value for name, _, value in words}
            if options.get("--gcs-address") == gcs_address and options.get("--autoscaling-config"):
                return Path(options["--autoscaling-config"]).expanduser()
    return None


def _gcs_address() -> str:
    return str(ray.get_runtime_context().gcs_address)
