"""What a training step costs beyond its arithmetic: forward, backward and optimiser of the bare network.

    python benchmarks/speed/step.py [--models joint standalone] [--sides 96 112 224] [--settings default]

Bare: forward, backward and optimiser of the same network on a resident batch, from the plain sum of its outputs.
Whole: an epoch of a training without validation, divided by its steps: gathering from the cache, augmentation,
forward, loss, backward, clipping, optimiser, moving average, logging. 96 and 112 pixels are half the common grid's
resolution (96 is cropped, as published crops are), 224 is the full one. All have the precision of a training on this
machine, 16 bits where it has them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import Figure, create_parser, in_turn, print_figures, ratios

from jointnet.batches.augmentation import Batch
from jointnet.batches.dataset import SlicePairDataset
from jointnet.common_grid import SIZE_PX
from jointnet.compute.allocator import keep_freed_memory
from jointnet.compute.device import computing_in, training_precision
from jointnet.data.folder import find_patients
from jointnet.models import TRAINED
from jointnet.networks.output import Output
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.cache import CachedPatient, prepare
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train.loop import Learner, new_learner, train_epoch
from jointnet.train.losses import branch_losses, weighted_losses

BATCHES = 4
CPU = torch.device("cpu")
HALF_RESOLUTION_PX = 112
"""Slices up to this side use half the resolution of the common grid, larger ones the full resolution."""


def main() -> None:
    """Measure and print the figures."""
    parser = create_parser(__doc__, repeats=7)
    parser.add_argument("--models", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 112, 224], help="pixels, half or whole resolution")
    parser.add_argument("--settings", default="default")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    options = parser.parse_args()
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    figures: list[Figure] = []
    for name in options.models:
        for side in options.sides:
            settings = with_values(
                load_settings(options.settings), {"model.name": name, "training.downsampling": downsampling_of(side)}
            )
            figures += measured(settings, side, options.repeats)
    print_figures(
        figures,
        options,
        settings=options.settings,
        precision=str(training_precision(CPU)),
        batch=settings.training.batch_size,
    )


def measured(settings: Settings, side: int, repeats: int) -> list[Figure]:
    """Return the figures of one model at one size."""
    pairs = few_slices(phantom_patients(4), settings, side, BATCHES * settings.training.batch_size)
    learner = new_learner(settings, BATCHES * settings.training.epochs, CPU)
    batch = pairs.batch(torch.arange(settings.training.batch_size))
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        train_epoch(learner, pairs, torch.randperm(len(pairs)).split(settings.training.batch_size), generator, False)

    timed: dict[str, Callable[[], Any]] = {
        "bare": lambda: steps(learner, batch, plain_sum, BATCHES),
        "with loss": lambda: steps(learner, batch, lambda output: weighted_sum(output, batch, settings), BATCHES),
        "whole": epoch,
    }
    what = f"{settings.model.name} {side}"
    seconds = in_turn(timed, repeats, warm_up=2)
    bare, with_loss, whole = ([each / BATCHES for each in seconds[name]] for name in ("bare", "with loss", "whole"))
    return [
        Figure(f"{what}: bare step", tuple(1e3 * each for each in bare), "ms"),
        Figure(f"{what}: whole step", tuple(1e3 * each for each in whole), "ms"),
        Figure(f"{what}: whole / bare", ratios(whole, bare), "x", most=1.10),
        Figure(f"{what}: whole / bare with the loss", ratios(whole, with_loss), "x"),
    ]


def steps(learner: Learner, batch: Batch, objective: Callable[[Output], torch.Tensor], count: int) -> None:
    """Take optimiser steps on one fixed batch."""
    for _ in range(count):
        with computing_in(learner.precision, batch.cine.device):
            output = learner.model(batch.cine, batch.lge)
        total = objective(output)
        learner.optimiser.zero_grad(set_to_none=True)
        total.backward()
        learner.optimiser.step()


def plain_sum(output: Output) -> torch.Tensor:
    """Return the sum of all outputs, the cheapest scalar that depends on each of them."""
    return torch.stack([each.float().sum() for each in output if isinstance(each, torch.Tensor)]).sum()


def weighted_sum(output: Output, batch: Batch, settings: Settings) -> torch.Tensor:
    """Return the loss of a training."""
    losses = branch_losses(output, batch.cine_labels, batch.lge_labels, batch.field, batch.labelled, settings.loss)
    return torch.stack(list(weighted_losses(losses, settings.loss).values())).sum()


def downsampling_of(side: int) -> int:
    """Return the `training.downsampling` for slices with this side in pixels."""
    return 1 if side > HALF_RESOLUTION_PX else 2


@dataclass(frozen=True)
class FewSlices:
    """The first `count` slice pairs, so that an epoch has a known number of full batches, without `edge` pixels."""

    pairs: SlicePairDataset
    count: int
    edge: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: torch.Tensor) -> Batch:
        """Return the slice pairs of these indices, cropped on each side as in published work."""
        batch = self.pairs.batch(indices)
        middle = slice(self.edge, batch.cine.shape[-1] - self.edge)
        if not self.edge:
            return batch
        maps = {name: each[..., middle, middle] for name, each in batch._asdict().items() if name != "labelled"}
        return batch._replace(**{name: each.contiguous() for name, each in maps.items()})


def phantom_patients(count: int) -> list[CachedPatient]:
    """Return phantom patients on the common grid, created on the first call."""
    folder = Path(f"data/phantom-{count}-0").absolute()
    write_phantom(folder, patients=count)
    return prepare(list(find_patients(folder).values()))


def few_slices(patients: list[CachedPatient], settings: Settings, side: int, count: int) -> FewSlices:
    """Return the first `count` slice pairs with `side` pixels at the settings' resolution."""
    downsampling = settings.training.downsampling
    pairs = SlicePairDataset(patients, downsampling, settings.model.neighbours, "cpu")
    if len(pairs) < count:
        raise ValueError(f"count: must be at most the {len(pairs)} slice pairs of the phantom, got {count}")
    return FewSlices(pairs, count, (SIZE_PX // downsampling - side) // 2)


if __name__ == "__main__":
    main()
