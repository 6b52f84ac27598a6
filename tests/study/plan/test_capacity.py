"""The number of trials that fit on the nodes, computed by hand."""

import pytest

from study.plan.capacity import (
    Request,
    describe_cluster,
    describe_nodes,
    larger_share,
    most_trials,
    resource_errors,
    resources_of,
    trials_on,
)
from study.plan.plan import Autoscaler, Node, Resources

BARE, SMALL, BIG = Node("bare", 0, 0), Node("small", 4, 0), Node("big", 8, 2)
HEAD = Node("head", 4, 0, is_head=True)
UNREADABLE = Autoscaler(None, 0)


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "trials"),
    [
        (SMALL, 1, 0, 4),
        (SMALL, 3, 0, 1),
        (SMALL, 5, 0, 0),
        (SMALL, 0.1, 0, 40),  # 4 // 0.1 is 39 in floating point
        (SMALL, 1, 1, 0),
        (BIG, 1, 1, 2),
        (BIG, 1, 2, 1),
        (BIG, 1, 0.5, 4),
        (BIG, 3, 0.5, 2),  # CPUs are the limit
        (BIG, 1, 0.6, 2),  # one on each GPU, although 2 // 0.6 is 3
        (BIG, 1, 3, 0),
        (BARE, 1, 0, 0),
    ],
)
def test_a_node_holds_as_many_trials_as_its_scarcer_resource(node: Node, cpus: float, gpus: float, trials: int):
    assert trials_on(node, Resources(1, cpus, gpus, "cpu")) == trials


@pytest.mark.parametrize(
    ("cpus", "gigabytes", "trials"), [(16, 64, 16), (16, 4, 4), (16, 2, 1), (16, 0.5, 1), (1, 64, 1), (2, 2.6, 2)]
)
def test_a_node_holds_no_more_trials_than_its_memory_but_one_in_any_case(cpus: float, gigabytes: float, trials: int):
    """A trial takes 0.7 GB, the driver and Ray 0.9 GB."""
    node = Node("this machine", cpus, 0, int(gigabytes * 1e9))
    assert trials_on(node, Resources(1, 1, 0, "cpu")) == trials


@pytest.mark.parametrize(
    ("requested", "nodes", "expected"),
    [
        (("auto", 1, None, None), (SMALL, SMALL), (8, 1, 0, "cpu")),
        (("auto", 1, None, None), (SMALL, BIG), (2, 1, 1, "cuda")),  # the nodes' GPUs count, not the driver's
        (("auto", 1, 0, None), (SMALL, BIG), (12, 1, 0, "cpu")),
        (("cpu", 2, None, None), (SMALL, BIG), (6, 2, 0, "cpu")),
        (("cuda", 1, 0.5, None), (BARE, BIG), (4, 1, 0.5, "cuda")),
        (("auto", 1, None, 3), (SMALL,), (3, 1, 0, "cpu")),
    ],
)
def test_a_trial_gets_what_is_requested_and_as_many_run_as_fit(requested, nodes, expected):
    request = Request(*requested)
    assert resource_errors(request, nodes) == []
    assert resources_of(request, nodes) == Resources(*expected)


@pytest.mark.parametrize(
    ("requested", "nodes", "error"),
    [
        (("auto", 5, None, None), (SMALL, SMALL), "got 5 CPU and 0 GPU (2 nodes of 4 CPU and 0 GPU)"),
        (("auto", 1, 0.5, None), (SMALL,), "got 1 CPU and 0.5 GPU (1 node of 4 CPU and 0 GPU)"),
        (("auto", 1, None, None), (), "got 1 CPU and 0 GPU (no nodes)"),
        (("auto", 8, 0.5, None), (SMALL, Node("thin", 2, 1)), "one node must have them"),
        (("cuda", 1, None, None), (SMALL,), "--device: must be cpu or auto where no node has a GPU, got cuda"),
        (("auto", 1, 1.5, None), (BIG,), "--gpus-per-trial: must be whole where it is above 1, got 1.5"),
        (("cpu", 1, 1, None), (BIG,), "--gpus-per-trial: must be 0 with --device cpu, got 1"),
        (("cuda", 1, 0, None), (BIG,), "--gpus-per-trial: must be above 0 with --device cuda, got 0"),
    ],
)
def test_requests_that_no_node_can_satisfy_are_refused_with_the_nodes(requested, nodes, error: str):
    (message,) = resource_errors(Request(*requested), nodes)
    assert error in message


@pytest.mark.parametrize(
    ("requested", "nodes", "autoscaler", "expected"),
    [
        (("auto", 1, None, None), (), Autoscaler((SMALL, SMALL), 2), (8, 1, 0, "cpu")),
        (("auto", 1, None, None), (HEAD,), Autoscaler((BIG,), 1), (2, 1, 1, "cuda")),  # the GPUs are asleep
        (("cpu", 1, None, None), (HEAD,), Autoscaler((BIG,), 1), (12, 1, 0, "cpu")),
        (("auto", 1, None, None), (SMALL, SMALL), Autoscaler((SMALL, SMALL, SMALL), 3), (12, 1, 0, "cpu")),
        (("auto", 1, None, 3), (), Autoscaler((BIG,), 1), (3, 1, 1, "cuda")),
        (("cuda", 4, 0.5, None), (HEAD,), UNREADABLE, (1, 4, 0.5, "cuda")),
        (("auto", 1, 0.5, None), (HEAD,), UNREADABLE, (1, 1, 0.5, "cuda")),
        (("auto", 1, None, None, True), (), None, (1, 1, 0, "cpu")),
    ],
)
def test_nodes_that_may_still_come_count(requested, nodes, autoscaler, expected):
    request = Request(*requested)
    assert resource_errors(request, nodes, autoscaler) == []
    assert resources_of(request, nodes, autoscaler) == Resources(*expected)


@pytest.mark.parametrize(
    ("requested", "autoscaler", "error"),
    [
        (("auto", 9, None, None), Autoscaler((BIG,), 1), "one node must have them, got 9 CPU and 1 GPU (1 node of 4 "),
        (("cuda", 1, None, None), Autoscaler((SMALL,), 1), "--device: must be cpu or auto where no node has a GPU"),
        (("auto", 1, None, None), UNREADABLE, "--device: must be cpu or cuda where no node has a GPU now and it"),
    ],
)
def test_what_no_node_will_ever_have_is_refused_and_an_unknown_autoscaler_needs_the_device(
    requested, autoscaler, error: str
):
    (message,) = resource_errors(Request(*requested), (HEAD,), autoscaler)
    assert error in message


@pytest.mark.parametrize(
    ("nodes", "autoscaler", "trials"),
    [
        ((HEAD, SMALL), Autoscaler((SMALL, SMALL), 2), 12),  # one of the two is there
        ((HEAD, SMALL, SMALL), Autoscaler((SMALL,), 1), 12),  # one of them is nobody's
        ((), Autoscaler((SMALL, SMALL, BIG), 2), 12),  # the two largest
        ((SMALL,), UNREADABLE, 4),
    ],
)
def test_an_autoscalers_nodes_are_counted_once_and_up_to_its_limit(nodes, autoscaler, trials: int):
    assert most_trials(nodes, autoscaler, Resources(1, 1, 0, "cpu")) == trials


def test_a_cluster_is_described_with_what_its_autoscaler_may_start():
    assert describe_cluster((HEAD,), None) == "1 node of 4 CPU and 0 GPU"
    asleep = Autoscaler((SMALL, BIG), 1)
    more = "1 node of 4 CPU and 0 GPU, 1 node of 8 CPU and 2 GPU (at most 1)"
    assert describe_cluster((HEAD,), asleep) == f"1 node of 4 CPU and 0 GPU; an autoscaler for {more}"
    assert describe_cluster((), UNREADABLE) == "no nodes; an autoscaler for nodes that are not known here"


def test_nodes_are_described_by_kind():
    assert describe_nodes((BIG, SMALL, SMALL)) == "2 nodes of 4 CPU and 0 GPU, 1 node of 8 CPU and 2 GPU"


@pytest.mark.parametrize(
    ("gpus", "larger"),
    [(0, 0), (2, 2), (1, 1), (0.6, 0.6), (0.5, 1), (1 / 3, 0.5), (0.3333, 0.5), (0.25, 0.3333), (0.1, 0.1428)],
)
def test_where_a_share_of_a_gpu_is_too_small_a_quarter_fewer_trials_share_it(gpus: float, larger: float):
    assert larger_share(gpus) == larger
