"""The wait for a node that a trial fits on, and what can be read about an autoscaler."""

import json
from pathlib import Path
from typing import Any

import pytest

import study.machines.autoscaler as autoscaler
from study.machines.slots import Wait
from study.plan.plan import Autoscaler, Node, Resources


def test_a_wait_says_for_what_how_long_and_how_long_at_most():
    wait = Wait(Resources(1, 4, 0.5, "cuda"), 15)
    assert (wait.text(2, 0), wait.overdue(0)) == ("", "")
    assert wait.text(0, 100) == "waiting for a node with 4 CPU and 0.5 GPU: 0 min of at most 15"
    assert wait.text(0, 250) == "waiting for a node with 4 CPU and 0.5 GPU: 2 min of at most 15"
    assert wait.overdue(999) == ""
    assert wait.overdue(1000) == "no node with 4 CPU and 0.5 GPU was there for 15 minutes (--wait-for-nodes)"
    assert (wait.text(1, 1001), wait.text(1, 1002)) == ("training", "")
    assert wait.overdue(5000) == ""
    assert "0 min" in wait.text(0, 6000) and wait.overdue(6001) == ""  # the next wait begins anew
    assert Wait(Resources(1, 0.5, 0, "cpu"), 0.1).text(0, 0) == "waiting for a node with 0.5 CPU: 0 min of at most 0.1"


NODES = {
    "head": {"resources": {"CPU": 8}, "max_workers": 0},
    "gpu": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 2},
    "empty": {},
}


@pytest.mark.parametrize(("most", "expected"), [({}, 2), ({"max_workers": 1}, 1), ({"max_workers": 9}, 2)])
def test_the_nodes_of_an_autoscaler_are_read_from_its_configuration(most: dict[str, int], expected: int):
    found = autoscaler.autoscaler_of({"available_node_types": NODES, **most})
    assert found == Autoscaler((Node("gpu", 4, 1),) * 2, expected)


def test_kuberays_resource_is_read_as_ray_itself_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def group(name: str, cpus: int, gpus: int) -> dict[str, Any]:
        limits = {"cpu": str(cpus), "memory": "8Gi", **({"nvidia.com/gpu": gpus} if gpus else {})}
        pod = {"spec": {"containers": [{"resources": {"limits": limits}}]}}
        return {"groupName": name, "minReplicas": 0, "maxReplicas": 3, "rayStartParams": {}, "template": pod}

    cluster = {
        "metadata": {"name": "study", "namespace": "lab"},
        "spec": {"headGroupSpec": group("head", 2, 0), "workerGroupSpecs": [group("gpu", 4, 1)]},
    }
    asked = []

    class Kubernetes:
        def __init__(self, namespace: str) -> None:
            asked.append(namespace)

        def get(self, path: str) -> dict[str, Any]:
            asked.append(path)
            return cluster

    (tmp_path / "namespace").write_text("lab")
    monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.KubernetesHttpApiClient", Kubernetes)
    monkeypatch.setattr(autoscaler, "KUBERNETES_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(autoscaler, "_configuration_file", lambda address: None)
    monkeypatch.setattr(autoscaler, "_type_names", lambda: {"headgroup"})
    monkeypatch.setattr(autoscaler, "_gcs_address", lambda: "10.0.0.1:6379")
    monkeypatch.setenv("RAY_CLUSTER_NAME", "study")
    assert autoscaler.find_autoscaler() == Autoscaler((Node("gpu", 4, 1),) * 3, 3)
    assert asked == ["lab", "rayclusters/study"]
    cluster["spec"] = {}
    assert autoscaler.find_autoscaler() == autoscaler.UNREADABLE
    monkeypatch.setattr(autoscaler, "_type_names", lambda: {"node_0123", "node_4567"})
    assert autoscaler.find_autoscaler() is None


@pytest.mark.parametrize(
    ("report", "names"),
    [
        ({"active_nodes": {"head": 1}, "node_type_mapping": {"10.0.0.1": "head", "10.0.0.2": "w"}}, {"head", "w"}),
        ({"active_nodes": {}, "node_type_mapping": None}, set()),
        (None, set()),
    ],
)
def test_the_types_of_the_nodes_are_in_the_heads_report(report, names, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(autoscaler, "is_autoscaler_v2", lambda fetch_from_server: False)
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda key: json.dumps({"autoscaler_report": report}))
    monkeypatch.setattr(autoscaler, "SECONDS_TO_REPORT", 0.0)
    assert autoscaler._type_names() == names
