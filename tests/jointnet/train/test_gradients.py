import math

import pytest
import torch
from torch import nn

from jointnet.train.gradients import shared_gradient_norms


def weight(*values):
    return nn.Parameter(torch.tensor(values))


def test_the_norms_are_those_of_the_derivatives_by_hand():
    shared, alone = weight(3.0, 4.0), weight(5.0)
    losses = {"first": (shared * shared).sum() + alone.sum(), "second": 2 * shared.sum()}
    norms = shared_gradient_norms(losses, [shared, alone])
    assert norms == pytest.approx({"first": math.hypot(6, 8), "second": math.hypot(2, 2)})


def test_a_parameter_that_one_branch_alone_reaches_counts_for_none():
    first, second = weight(1.0), weight(2.0)
    assert shared_gradient_norms({"first": first.sum(), "second": second.sum()}, [first, second]) == {}


def test_one_branch_shares_with_nobody():
    only = weight(1.0)
    assert shared_gradient_norms({"registration": only.sum()}, [only]) == {}


def test_a_frozen_parameter_is_passed_over():
    shared, frozen = weight(3.0), nn.Parameter(torch.tensor([7.0]), requires_grad=False)
    losses = {"first": (shared * frozen).sum(), "second": shared.sum()}
    assert shared_gradient_norms(losses, [shared, frozen]) == pytest.approx({"first": 7.0, "second": 1.0})


def test_the_graph_is_kept_and_no_gradient_is_left_behind():
    shared = weight(3.0)
    losses = {"first": (shared**2).sum(), "second": shared.sum()}
    shared_gradient_norms(losses, [shared])
    assert shared.grad is None
    sum(losses.values()).backward()
    assert shared.grad.tolist() == [7.0]
