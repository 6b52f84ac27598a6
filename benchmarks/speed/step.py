"""What a training step costs beyond its arithmetic, and what share of the machine's peak the arithmetic reaches.

    python benchmarks/speed/step.py [--models joint standalone] [--sides 96 112 224] [--settings default] [--compile]

Bare is forward, backward and optimiser of the same network on a resident batch, from the plain sum of its outputs.
Whole is what a training does for each batch: gather it from the cache, augment it, forward, loss, backward, clip,
optimiser, moving average, logging; an epoch without validation, divided by its steps. 96 and 112 pixels a side are half
the common grid's resolution (96 cropped, as published crops are), 224 is the whole. All in the precision that a
training has on this machine, 16 bits where it has them, and the peak too: the best of a matrix product and of a
convolution, measured in the same turns. `--compile` also takes bare steps of the network compiled by
`torch.compile`, which needs a C++ compiler and minutes for every model and size.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from batches import downsampling_of, few_slices, phantom_patients
from figures import Figure, add_options, in_turn, ratios, tell
from torch.utils.flop_counter import FlopCounterMode

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.models import MODELS
from jointnet.networks.apply import Output
from jointnet.networks.device import computing_in, training_precision
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train.augmentation import Batch
from jointnet.train.loop import Learner, new_learner, train_epoch
from jointnet.train.losses import branch_losses, weighted_losses

BATCHES = 4
MATRIX = 2048
CPU = torch.device("cpu")
PRECISION = training_precision(CPU)
PEAK_CONVOLUTION = (16, 64, 56)
"""Batch size, channels and side of the convolution that measures the peak."""


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 112, 224], help="pixels, half or whole resolution")
    parser.add_argument("--settings", default="default")
    parser.add_argument("--compile", action="store_true", help="a compiled network too")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    add_options(parser, repeats=7)
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
            figures += measured(settings, side, options.repeats, options.compile)
    tell(figures, options, settings=options.settings, precision=str(PRECISION), batch=settings.training.batch_size)


def measured(settings: Settings, side: int, repeats: int, compiles: bool) -> list[Figure]:
    """Return the figures of one model at one size."""
    pairs = few_slices(phantom_patients(4), settings, side, BATCHES * settings.training.batch_size)
    learner = new_learner(settings, BATCHES, CPU)
    batch = pairs.batch(torch.arange(settings.training.batch_size))
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        train_epoch(learner, pairs, generator, False)

    network = learner.model
    timed: dict[str, Callable[[], Any]] = {
        "bare": lambda: steps(network, learner, batch, plain_sum),
        "with loss": lambda: steps(network, learner, batch, lambda output: weighted_sum(output, batch, settings)),
        "whole": epoch,
        "matrix product": matrix_product(),
        "convolution": convolution(),
    }
    what = f"{settings.model.name} {side}"
    found = list[Figure]()
    if compiles:
        compiled = torch.compile(network, dynamic=False)
        began = time.perf_counter()
        steps(compiled, learner, batch, plain_sum)
        found.append(Figure(f"{what}: first steps, compiled", (time.perf_counter() - began,), "s"))
        timed["compiled"] = lambda: steps(compiled, learner, batch, plain_sum)
    seconds = in_turn(timed, repeats, warm_up=2)
    if compiles:
        found.append(Figure(f"{what}: bare, compiled / as it is", ratios(seconds["compiled"], seconds["bare"]), "x"))
    bare, with_loss, whole = ([each / BATCHES for each in seconds[name]] for name in ("bare", "with loss", "whole"))
    with FlopCounterMode(display=False) as counter:
        steps(network, learner, batch, plain_sum)
    work = counter.get_total_flops() / BATCHES / 1e9
    count, channels, px = PEAK_CONVOLUTION
    peaks = [
        max(2 * MATRIX**3 / product, 2 * 9 * count * (channels * px) ** 2 / convolved) / 1e9
        for product, convolved in zip(seconds["matrix product"], seconds["convolution"], strict=True)
    ]
    return [
        *found,
        Figure(f"{what}: bare step", tuple(1e3 * each for each in bare), "ms"),
        Figure(f"{what}: whole step", tuple(1e3 * each for each in whole), "ms"),
        Figure(f"{what}: whole / bare", ratios(whole, bare), "x", most=1.10),
        Figure(f"{what}: whole / bare with the loss", ratios(whole, with_loss), "x"),
        Figure(f"{what}: arithmetic of a bare step", (work,), "GFLOP"),
        Figure(
            f"{what}: share of the measured peak",
            tuple(100 * work / time / peak for time, peak in zip(bare, peaks, strict=True)),
            "%",
        ),
    ]


def steps(
    network: Callable[..., Output], learner: Learner, batch: Batch, objective: Callable[[Output], torch.Tensor]
) -> None:
    """Take as many optimiser steps as an epoch has, on one fixed batch, with the learner's network or a form of it."""
    for _ in range(BATCHES):
        with computing_in(PRECISION, CPU):
            output = network(batch.cine, batch.lge)
        total = objective(output)
        learner.optimiser.zero_grad(set_to_none=True)
        total.backward()
        learner.optimiser.step()


def plain_sum(output: Output) -> torch.Tensor:
    """Return the sum of all outputs, the cheapest scalar that depends on each of them."""
    return torch.stack([each.float().sum() for each in output if each is not None]).sum()


def weighted_sum(output: Output, batch: Batch, settings: Settings) -> torch.Tensor:
    """Return the loss of a training."""
    losses = branch_losses(output, batch.cine_labels, batch.lge_labels, settings.loss)
    return torch.stack(list(weighted_losses(losses, settings.loss).values())).sum()


def matrix_product() -> Callable[[], Any]:
    """Return a function that computes a large matrix product."""
    first, second = torch.randn(2, MATRIX, MATRIX).to(PRECISION).unbind()
    return lambda: first @ second


def convolution() -> Callable[[], Any]:
    """Return a function that computes a large convolution without gradients."""
    count, channels, px = PEAK_CONVOLUTION
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, dtype=PRECISION)
    layer = layer.to(memory_format=torch.channels_last).requires_grad_(False)
    image = torch.randn(count, channels, px, px).to(PRECISION).to(memory_format=torch.channels_last)
    return lambda: layer(image)


if __name__ == "__main__":
    main()
