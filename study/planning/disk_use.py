"""How much disk a study takes: a model of every training, checkpoints of those that run, and the ledger.

These are upper bounds, but where trials are drawn until the time is over: then they rest on the estimate of how many.
"""

from functools import lru_cache

import torch

from jointnet.networks import build_model
from jointnet.resume import KEPT
from jointnet.settings import Settings
from study.planning.estimate import arm_trials
from study.planning.plan import Arm, Plan

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


def model_megabytes(plan: Plan) -> float | None:
    """Give the MB of the best models of all trials and retrainings; the tracking store holds them once more.

    None where nobody knows how many there will be.
    """
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    sizes = [model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms]
    known = [count * size for count, size in zip(trainings, sizes, strict=True) if count is not None]
    return sum(known) / 1e6 if len(known) == len(sizes) else None


def checkpoint_megabytes(plan: Plan) -> float:
    """Give the MB that one running trial takes at most, while it writes a checkpoint beside the last two."""
    copies = (KEPT + 1) * COPIES_IN_CHECKPOINT + COPIES_BESIDE_CHECKPOINTS
    return max(copies * model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms) / 1e6


def ledger_megabytes(plan: Plan) -> float | None:
    """Give the MB of the ledger, None where nobody knows how many trials there will be."""
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    epochs = [
        count * arm.space.fidelity.max_epochs
        for count, arm in zip(trainings, plan.arms, strict=True)
        if count is not None
    ]
    return sum(epochs) * LEDGER_BYTES_PER_EPOCH / 1e6 if len(epochs) == len(trainings) else None


def _trainings(plan: Plan, arm: Arm) -> float | None:
    """Give the trials and retrainings of an arm."""
    trials = arm_trials(plan, arm)
    return None if trials is None else trials + plan.design.seeds
