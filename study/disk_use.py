"""How much disk a study takes at most: a model of every trial, checkpoints of those that run, and the ledger."""

from functools import lru_cache

import torch

from jointnet.networks import build_model
from jointnet.resume import KEPT
from jointnet.settings import Settings
from study.plan import Plan

COPIES_IN_CHECKPOINT = 5
"""Weights, their average, the best ones, and Adam's two moments."""
COPIES_BESIDE_CHECKPOINTS = 2
"""A running trial's `model.pt` and `previous.pt`."""
LEDGER_BYTES_PER_EPOCH = 1500


@lru_cache
def model_bytes(settings: Settings) -> int:
    """Give the size of a model's weights."""
    with torch.device("meta"):
        model = build_model(settings)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def model_megabytes(plan: Plan) -> float:
    """Give the MB of the best models of all trials; the tracking store holds them once more."""
    return sum(arm.space.budget.num_samples * model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms) / 1e6


def checkpoint_megabytes(plan: Plan) -> float:
    """Give the MB that one running trial takes at most, while it writes a checkpoint beside the last two."""
    copies = (KEPT + 1) * COPIES_IN_CHECKPOINT + COPIES_BESIDE_CHECKPOINTS
    return max(copies * model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms) / 1e6


def ledger_megabytes(plan: Plan) -> float:
    """Give the MB of the ledger at most."""
    epochs = sum(arm.space.budget.num_samples * arm.space.fidelity.max_epochs for arm in plan.arms)
    return epochs * LEDGER_BYTES_PER_EPOCH / 1e6
