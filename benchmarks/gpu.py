"""Check a GPU against the CPU, and measure trainings, trials side by side, a study and predictions on it.

    python benchmarks/gpu.py [--minutes 10] [--sections parity speed ...] [--out runs/gpu.json]

It writes the phantom to `data/` and downloads nothing. Every section runs in a process of its own: one that fails or
exceeds its share of the time is reported, with the figures that it had, and the others go on. What is expected stands
beside each figure. Those of `parity` must be met: the exit status is 1 where one is missed or a section fails.

- parity: one step and a short training in 32 bits, bf16 and fp16 against the CPU in 32 bits. Both have the same initial
  weights, order of slices and augmentation, which is drawn on the CPU.
- waits: how often a step waits for the GPU, where, and what its kernels take.
- speed: seconds and memory of a step, and the share of the floating-point operations per second of a matrix product.
- predict: seconds of a prediction of a patient in 32 bits.
- ray: two and four trainings on one GPU, each with its share of it, against one alone.
- study: the search space `smoke` as a study, two trials on one GPU.

With `--device cpu` everything runs in small.
"""

import argparse
import contextlib
import copy
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent / "speed"))

from sections import Ran, run_sections, write_figures
from step import phantom_patients, plain_sum, steps
from timing import Figure, print_figures

from jointnet.batches.augmentation import apply_augmentation, draw_augmentation
from jointnet.batches.dataset import ShuffledPasses, SlicePairDataset
from jointnet.common_grid import SIZE_PX
from jointnet.compute.device import resolve_device, training_precision
from jointnet.errors import SettingsError
from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.rows import evaluate
from jointnet.geometry import in_mm
from jointnet.models import TRAINED
from jointnet.networks import build_model, guided_output, transform_limits
from jointnet.networks.apply import predict
from jointnet.preparation.cache import CachedPatient
from jointnet.settings import AugmentationSettings, Settings, load_settings, with_values
from jointnet.structures import CLASSES
from jointnet.train.loop import new_learner, train_epoch
from jointnet.train.objective import OBJECTIVE

CPU = torch.device("cpu")
BITS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
PLAIN = {f"augmentation.{name}": 0.0 for name in AugmentationSettings.__dataclass_fields__}
"""Settings with which no augmentation changes a batch, whatever a generator draws."""
MOST_HALVINGS = 17
"""The gradient scale of fp16 begins at 2^16 and is halved until no gradient overflows."""
HEART_MM = 50.0
"""Transforms are compared at the corners of a square with this half side about the image's centre."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        patients: patients of the phantom. The last two are validated.
        settings: values that differ from the shipped settings.
        sides: sides of the slices in pixels.
        batches: numbers of slice pairs in a step.
        steps: steps that a time is measured over.
        epochs: epochs of the short training.
        matrix: side of the matrices whose product shows the peak.
        together: numbers of trainings at once.
    """

    patients: int
    settings: dict[str, Any]
    sides: tuple[int, ...]
    batches: tuple[int, ...]
    steps: int
    epochs: int
    matrix: int
    together: tuple[int, ...]


ON_GPU = Scale(8, {}, (112, 224), (8, 32, 128), 10, 6, 8192, (1, 2, 4))
ON_CPU = Scale(4, {"model.widths": [4, 8], "model.guide_steps": 2}, (56,), (2,), 2, 2, 128, (1, 2))


MEASURES = (
    ("losses of a step", "rel"),
    ("gradient of a step", "rel"),
    ("transforms of the same weights", "mm"),
    ("losses of a training", "rel"),
    (OBJECTIVE, ""),
)
"""What is compared: the largest difference relative to the CPU's; for the gradient the norm of the difference; for the
transforms the 95th percentile over slices of the distance; for the objective after a training the difference."""
TOLERANCES = {
    torch.float32: (1e-4, 0.01, 0.05, 0.1, 0.05),
    torch.bfloat16: (0.03, 0.2, 2.0, 0.2, 0.1),
    torch.float16: (0.01, 0.1, 0.5, 0.2, 0.1),
}
"""Rounding errors grow in a training: weights that differed by 1e-6 gave epochs whose losses differed by up to 4 %."""


# ---- parity with the CPU ----


def parity(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield the differences of steps, transforms and trainings on the device from those on the CPU in 32 bits."""
    patients = phantom_patients(scale.patients)
    torch.backends.cudnn.allow_tf32 = False
    yield augmentation_difference(patients, device, scale)
    yield guided_difference(patients, device)
    for name in TRAINED:
        settings = settings_of(scale, name, scale.sides[0], scale.batches[0], "quick", **PLAIN)
        expected = measured(settings, patients, CPU, torch.float32, scale)
        for precision, bits in BITS.items():
            if device.type == "cuda" and precision is torch.bfloat16 and training_precision(device) is not precision:
                continue
            found = measured(settings, patients, device, precision, scale, expected.model)
            apart = (
                max(abs(a - b) / max(abs(b), 1e-3) for a, b in zip(found.losses, expected.losses, strict=True)),
                float((found.gradient - expected.gradient).norm() / expected.gradient.norm()),
                apart_mm(found.theta, expected.theta),
                max(abs(a - b) / b for a, b in zip(found.epochs, expected.epochs, strict=True)),
                abs(found.objective - expected.objective),
            )
            for (what, unit), value, most in zip(MEASURES, apart, TOLERANCES[precision], strict=True):
                yield Figure(f"{name} {bits}: {what}", (value,), unit, most)


def augmentation_difference(patients: Sequence[CachedPatient], device: torch.device, scale: Scale) -> Figure:
    """Return the largest difference of a batch's images and labels after the same augmentation."""
    settings = settings_of(scale, "joint", scale.sides[0], scale.batches[0])
    count = settings.training.batch_size
    drawn = draw_augmentation(load_settings("default").augmentation, count, torch.Generator().manual_seed(0))
    results = []
    for each in (CPU, device):
        batch = pairs_of(patients, settings, each).batch(torch.arange(count, device=each))
        results.append([tensor.cpu() for tensor in apply_augmentation(moved_to(drawn, each), batch)])
    apart = [float((mine - other).abs().quantile(0.999)) for mine, other in zip(*results, strict=True)]
    return Figure("augmentation of a batch, 99.9th percentile", (max(apart),), "", 1e-3)


def guided_difference(patients: Sequence[CachedPatient], device: torch.device) -> Figure:
    """Return the displacement between the transforms of the guided head from the drawn labels."""
    labels = torch.from_numpy(np.concatenate([np.array(each.labels()) for each in patients])[:, :, ::2, ::2]).long()
    logits = 20 * nn.functional.one_hot(labels, CLASSES).movedim(-1, 2).float()
    limits = transform_limits(load_settings("default").model)
    thetas = []
    for each in (CPU, device):
        cine, lge = logits.to(each).unbind(1)
        thetas.append(guided_output(cine, lge, limits.to(each), 8).theta.cpu().numpy())
    return Figure("guided head, 32 bits", (apart_mm(*thetas),), "mm", 0.05)


class Measured(NamedTuple):
    """Losses, branches' gradient norms and gradient of a step; transforms; and of a training each epoch and its end."""

    losses: list[float]
    gradient: Tensor
    theta: NDArray[np.float32]
    epochs: list[float]
    objective: float
    model: nn.Module


def measured(
    settings: Settings,
    patients: Sequence[CachedPatient],
    device: torch.device,
    precision: torch.dtype,
    scale: Scale,
    start: nn.Module | None = None,
) -> Measured:
    """Train from the same weights with the same batches on every device; then a step and transforms from `start`."""
    torch.manual_seed(0)
    pairs, generator = pairs_of(patients[:-2], settings, device), torch.Generator(device)
    passes = ShuffledPasses(len(pairs), settings.training.batch_size, torch.Generator().manual_seed(0))
    learner = new_learner(settings, passes.steps_per_pass * scale.epochs, device, precision)
    epochs = []
    for _ in range(scale.epochs):
        batches = [passes.next_batch().to(device) for _ in range(passes.steps_per_pass)]
        epochs.append(train_epoch(learner, pairs, batches, generator, False)["train/loss"])
    rows = evaluate(learner.averaged, patients[-2:], str(device), precision)
    trained = copy.deepcopy(learner.averaged)
    weights = (start or trained).state_dict()
    for _ in range(MOST_HALVINGS):
        learner.model.load_state_dict(weights)
        losses = train_epoch(learner, pairs, batches[:1], generator, True)
        gradients = [each.grad for each in learner.model.parameters() if each.grad is not None]
        gradient = torch.cat([each.flatten().float().cpu() for each in gradients])
        if torch.isfinite(gradient).all():
            break
    learner.model.load_state_dict(weights)
    theta = [predict(learner.model, each.images(), device, precision, each.field()).theta for each in patients]
    objective = named_metrics(rows, "val")[OBJECTIVE]
    return Measured(list(losses.values()), gradient, np.concatenate(theta), epochs, objective, trained)


def apart_mm(theta: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how far apart two transforms (S, 2, 3) move the corners of the heart's square, as `MEASURES` states."""
    corners = np.array([(x, y, 1.0) for x in (-HEART_MM, HEART_MM) for y in (-HEART_MM, HEART_MM)])
    apart = (in_mm(theta) - in_mm(other)) @ corners.T
    return float(np.percentile(np.hypot(apart[:, 0], apart[:, 1]).max(-1), 95))


# ---- a step: waits, seconds, memory ----


class Training:
    """A training whose steps can be repeated. Ray runs it as an actor."""

    def __init__(self, patients: Sequence[CachedPatient], settings: Settings, device: torch.device) -> None:
        self.device, size = device, settings.training.batch_size
        self.learner = new_learner(settings, 100_000, device)
        self.pairs = pairs_of(patients, settings, device)
        self.generator = torch.Generator(device).manual_seed(0)
        self.indices = torch.randint(len(self.pairs), (size,), device=device)

    def steps(self, count: int) -> float:
        """Take steps, wait for the device, and return the bytes of its memory that are in use, by all processes."""
        train_epoch(self.learner, self.pairs, [self.indices] * count, self.generator, False)
        return used_bytes(self.device)


def waits(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield how often a step waits for the device, and the share of the kernels that take most of its time."""
    patients = phantom_patients(scale.patients)
    for name in TRAINED:
        training = Training(patients, settings_of(scale, name, scale.sides[0], scale.batches[0]), device)
        training.steps(3)
        places = Counter(waiting_places(training, scale.steps))
        most = 1 + 1.5 / scale.steps  # one for the loss of a step, and one for the mean losses of an epoch
        if device.type == "cuda":
            yield Figure(f"{name}: waits for the GPU", (sum(places.values()) / scale.steps,), "/step", most)
        for place, count in places.most_common(10):
            yield Figure(f"{name}: waits at {place}", (count / scale.steps,), "/step")
        with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")) as profiled:
            training.steps(scale.steps)
        events = profiled.key_averages()
        called = {event.key: event.count for event in events}
        for key, bound in (
            ("aten::_local_scalar_dense", None),
            ("cudaStreamSynchronize", most),
            ("cudaMemcpyAsync", 10),
        ):
            if key in called:
                yield Figure(f"{name}: {key}", (called[key] / scale.steps,), "/step", bound)
        spent = Counter[str]()
        for event in events:
            if device.type != "cuda":
                spent[event.key] += event.self_cpu_time_total
            elif event.device_type == DeviceType.CUDA:  # a kernel; the operators that start it have its time too
                spent[event.key[:60]] += event.self_device_time_total
        for key, each in spent.most_common(10):
            yield Figure(f"{name}: time in {key}", (100 * each / spent.total(),), "%")


def waiting_places(training: Training, count: int) -> Iterator[str]:
    """Yield the line of code of every operation that waits for the GPU; nothing on a CPU."""
    if training.device.type != "cuda":
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train_epoch(training.learner, training.pairs, [training.indices] * count, training.generator, False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for each in caught:
        if "synchronizing" in str(each.message):
            yield f"{'/'.join(Path(each.filename).parts[-2:])}:{each.lineno}"


def speed(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield seconds and memory of steps of both models, and their share of the device's measured peak."""
    patients, precision = phantom_patients(scale.patients), training_precision(device)
    peak = 0.0
    for each in dict.fromkeys((torch.float32, precision)):
        matrix = torch.randn(scale.matrix, scale.matrix, device=device, dtype=each)
        seconds = timed(partial(torch.matmul, matrix, matrix), device, scale.steps)
        peak = 2 * scale.matrix**3 / seconds
        yield Figure(f"product of matrices in {BITS[each]}", (peak / 1e12,), "TFLOP/s")
    for name in TRAINED:
        for side in scale.sides:
            for size in scale.batches:
                what, settings = f"{name}, {side} px, batch {size}", settings_of(scale, name, side, size)
                try:
                    yield from of_a_step(what, Training(patients, settings, device), scale, peak)
                except torch.OutOfMemoryError:
                    yield Figure(f"{what}: out of memory", (1.0,), "")
                    torch.cuda.empty_cache()


def of_a_step(what: str, training: Training, scale: Scale, peak: float) -> Iterator[Figure]:
    """Yield seconds and memory of a step, and its share of the peak in floating-point operations per second."""
    device = training.device
    batch = training.pairs.batch(training.indices)
    with FlopCounterMode(display=False) as counter:
        steps(training.learner, batch, plain_sum, 1)
    bare = timed(lambda: steps(training.learner, batch, plain_sum, 1), device, scale.steps)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole = timed(lambda: training.steps(scale.steps), device, 2) / scale.steps
    least = counter.get_total_flops() / peak
    yield Figure(f"{what}: step", (1e3 * whole,), "ms", 1e3 * max(0.04, 20 * least))
    yield Figure(f"{what}: step / that of the bare network", (whole / bare,), "x", 1.5)
    yield Figure(f"{what}: share of the peak", (100 * least / whole,), "%")
    if device.type == "cuda":
        most = 0.8e-6 * torch.cuda.mem_get_info(device)[1]
        yield Figure(f"{what}: memory", (torch.cuda.max_memory_allocated(device) / 1e6,), "MB", most)
    training.learner.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    first = timed(lambda: training.steps(scale.steps), device, 2) / scale.steps
    yield Figure(f"{what}: channels first / last", (first / whole,), "x", least=0.95)


def prediction(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield the seconds of a patient's prediction."""
    (patient, *_) = phantom_patients(scale.patients)
    images, field = np.array(patient.images()), np.array(patient.field())
    for name in TRAINED:
        model = build_model(settings_of(scale, name, scale.sides[0], scale.batches[0])).to(device)
        seconds = timed(partial(predict, model, images, device, field=field), device, scale.steps)
        yield Figure(f"{name}: prediction of {len(images)} slices", (1e3 * seconds,), "ms", 1000)


# ---- several trials, and a study ----


def together(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield the steps per second of several trainings on one GPU, each with a share of it, relative to one alone."""
    import ray  # takes seconds

    from study.machines.cluster import ray_session

    patients, settings = phantom_patients(scale.patients), settings_of(scale, "joint", scale.sides[0], scale.batches[0])
    alone = None
    with ray_session(None):
        for count in scale.together:
            share = {"num_gpus": 1 / count} if device.type == "cuda" else {"num_cpus": 1 / count}
            actors = [
                ray.remote(**share)(Training).remote(patients, settings, torch.device(device.type))
                for _ in range(count)
            ]
            ray.get([actor.steps.remote(3) for actor in actors])
            began = time.perf_counter()
            used = ray.get([actor.steps.remote(10 * scale.steps) for actor in actors])
            rate = count * 10 * scale.steps / (time.perf_counter() - began)
            alone = alone or rate
            yield Figure(f"{count} at once: all steps", (rate,), "/s")
            yield Figure(
                f"{count} at once: all steps / those of one", (rate / alone,), "x", least=1.2 if count > 1 else 1
            )
            yield Figure(f"{count} at once: memory in use", (max(used) / 1e6,), "MB")
            for actor in actors:
                ray.kill(actor)


def small_study(device: torch.device, scale: Scale) -> Iterator[Figure]:
    """Yield the seconds of the study `smoke`, with two trials on one GPU."""
    from study.run.__main__ import main as run_study

    share = ["--gpus-per-trial", "0.5"] if device.type == "cuda" else []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        began = time.perf_counter()
        status = run_study(["--search", "smoke", "--device", device.type, *share])
        if status:
            raise RuntimeError(f"the study smoke must end with status 0, got {status}")
        yield Figure("study smoke, two trials at once", (time.perf_counter() - began,), "s", 240)


# ---- what the sections share ----


def settings_of(scale: Scale, name: str, side: int, batch: int, shipped: str = "default", **more: Any) -> Settings:
    """Return the settings of a model for slices of a side in pixels and a batch size."""
    own = {"model.name": name, "training.downsampling": SIZE_PX // side, "training.batch_size": batch}
    return with_values(load_settings(shipped), scale.settings | own | more)


def pairs_of(patients: Sequence[CachedPatient], settings: Settings, device: torch.device) -> SlicePairDataset:
    """Return the slice pairs of patients on the device."""
    return SlicePairDataset(patients, settings.training.downsampling, settings.model.neighbours, device)


def moved_to(drawn: Any, device: torch.device) -> Any:
    """Return nested named tuples of tensors on the device."""
    if isinstance(drawn, tuple):
        return type(drawn)(*(moved_to(each, device) for each in drawn))
    return drawn.to(device) if isinstance(drawn, Tensor) else drawn


def timed(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the mean seconds of a call after two that do not count."""
    for turn in range(2 + repeats):
        if turn == 2:
            used_bytes(device)
            began = time.perf_counter()
        function()
    used_bytes(device)
    return (time.perf_counter() - began) / repeats


def used_bytes(device: torch.device) -> float:
    """Wait for the device and return the memory in use on it, by all processes; 0 for a CPU."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize(device)
    free, whole = torch.cuda.mem_get_info(device)
    return float(whole - free)


# ---- the command ----

SECTIONS: dict[str, tuple[Callable[[torch.device, Scale], Iterator[Figure]], float]] = {
    "parity": (parity, 0.4),
    "waits": (waits, 0.1),
    "speed": (speed, 0.3),
    "predict": (prediction, 0.1),
    "ray": (together, 0.2),
    "study": (small_study, 0.4),
}
"""The sections, and the largest share of the time of each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections, print and write the figures, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ..., or cpu for a trial in small")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--minutes", type=float, default=10.0, help="limit of all sections (default 10)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures and the machine")
    parser.add_argument("--compare", type=Path, help="JSON file of an earlier run; its medians stand beside these")
    parser.add_argument("--figures", type=Path, help=argparse.SUPPRESS)  # runs one section in this process
    options = parser.parse_args(arguments)
    try:
        device = torch.device(resolve_device(options.device))
    except SettingsError as error:
        parser.error(str(error))
    if options.figures is not None:
        section, _ = SECTIONS[options.sections[0]]
        write_figures(section(device, ON_GPU if device.type == "cuda" else ON_CPU), options.figures)
        return 0
    own = [sys.executable, __file__, "--device", options.device]
    commands = {name: ([*own, "--sections", name], SECTIONS[name][1]) for name in options.sections}
    return report(run_sections(commands, 60 * options.minutes), options, device)


def report(ran: Sequence[Ran], options: argparse.Namespace, device: torch.device) -> int:
    """Print the table, write the JSON file, and return 1 if a figure of the parity is missed or a section failed."""
    figures = [figure for each in ran for figure in each.figures]
    about: dict[str, Any] = {"device": str(device), "cuda": torch.version.cuda, "minutes": options.minutes}
    about |= {"sections": {each.name: each.error or "done" for each in ran}}
    print_figures(figures, options, **about)
    missed = [figure.name for each in ran if each.name == "parity" for figure in each.figures if figure.missed]
    failed = [each.name for each in ran if each.error and (each.name == "parity" or not each.late)]
    for text, names in (("parity is missed", missed), ("failed", failed)):
        if names:
            print(f"{text}: {', '.join(names)}")
    return int(bool(missed or failed))


if __name__ == "__main__":
    sys.exit(main())
