"""Disk use of a study: the model of every training, the checkpoints of running trainings, and the ledger.

The values are upper bounds. Where trials are drawn until the time is over they are based on an estimated number of
trials.
"""

from functools import lru_cache

import torch

from jointnet.networks import build_model
from jointnet.settings import Settings
from jointnet.train.checkpoints import KEPT
from study.plan.estimate import arm_trials
from study.plan.plan import Arm, Plan

COPIES_IN_CHECKPOINT = 5
"""The weights, their average, the best weights, and Adam's two moments."""
COPIES_BESIDE_CHECKPOINTS = 2
"""`model.pt` and `previous.pt` of a running trial."""
LEDGER_BYTES_PER_EPOCH = 1500


@lru_cache
def model_bytes(settings: Settings) -> int:
    """Return the size of a model's weights in bytes."""
    with torch.device("meta"):
        model = build_model(settings)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def model_megabytes(plan: Plan) -> float | None:
    """Return the size in MB of the best models of all trials and retrainings; None where their number is unknown.

    The tracking store holds a second copy, which is not included.
    """
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    sizes = [model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms]
    known = [count * size for count, size in zip(trainings, sizes, strict=True) if count is not None]
    return sum(known) / 1e6 if len(known) == len(sizes) else None


def checkpoint_megabytes(plan: Plan) -> float:
    """Return the largest size in MB of a running trial: while it writes a checkpoint beside the KEPT last ones."""
    copies = (KEPT + 1) * COPIES_IN_CHECKPOINT + COPIES_BESIDE_CHECKPOINTS
    return max(copies * model_bytes(arm.space.settings_of(arm.model)) for arm in plan.arms) / 1e6


def ledger_megabytes(plan: Plan) -> float | None:
    """Return the size of the ledger in MB; None where the number of trials is unknown."""
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    epochs = [
        count * arm.space.fidelity.max_epochs
        for count, arm in zip(trainings, plan.arms, strict=True)
        if count is not None
    ]
    return sum(epochs) * LEDGER_BYTES_PER_EPOCH / 1e6 if len(epochs) == len(trainings) else None


def _trainings(plan: Plan, arm: Arm) -> float | None:
    """Return the number of trials and retrainings of an arm; None where it is unknown."""
    trials = arm_trials(plan, arm)
    return None if trials is None else trials + plan.design.seeds
