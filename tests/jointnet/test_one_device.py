"""Training, validation and prediction compute on one device and read few values from it.

`one_device` simulates the GPU. 16-bit arithmetic with its gradient scaler and fused Adam are not covered.
"""

import math

import pytest
import torch
from one_device import META, CopiesToDevice, MixedDevicesError, OneDevice, OneDeviceGenerator
from scans import easy_patients, tiny_settings

from jointnet.batches.dataset import ShuffledPasses, SlicePairDataset
from jointnet.compute.device import constant
from jointnet.evaluate.rows import evaluate
from jointnet.geometry import pixel_centres
from jointnet.models import TRAINED, UNTRAINED
from jointnet.networks import build_model
from jointnet.networks.apply import predict
from jointnet.preparation.cache import CachedPatient
from jointnet.settings import Settings, load_settings, settings_names, with_values
from jointnet.train.loop import new_learner, train_epoch

SLICES = 4
FEW = {"model.guide_steps": 2, "training.batch_size": SLICES}
"""Repeats nothing needlessly: operators of `meta` are slow."""
SHIPPED = [
    with_values(load_settings(name), {"model.name": model, **FEW}) for name in settings_names() for model in TRAINED
]
VARIED = [
    *(
        tiny_settings(model__name="joint", model__sharing=sharing, model__head=head)
        for sharing in ("network", "encoder", "none")
        for head in ("guided", "fully_connected")
    ),
    *(tiny_settings(model__name=model, model__neighbours=1) for model in TRAINED),
    tiny_settings(model__name="joint", registration__pooling="independent", training__batch_size=2),
    tiny_settings(model__name="standalone", registration__pooling="independent"),
    *(tiny_settings(model__name=name, registration__refinement="none") for name in TRAINED),
]
NOT_TRAINED = [tiny_settings(model__name=name) for name in UNTRAINED]
every = pytest.mark.parametrize("settings", SHIPPED + VARIED)


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> list[CachedPatient]:
    return easy_patients(tmp_path_factory.mktemp("one-device"), 2)


def epoch(settings: Settings, patients: list[CachedPatient]) -> tuple[OneDevice, CopiesToDevice]:
    """Train one epoch on the device and return the number of reads and copies by function."""
    learner = new_learner(settings, 1, META)
    pairs = SlicePairDataset(patients, settings.training.downsampling, settings.model.neighbours, META)
    assert len(pairs) == SLICES
    constant.cache_clear()
    with OneDevice() as device, CopiesToDevice() as copies:
        passes = ShuffledPasses(len(pairs), settings.training.batch_size, OneDeviceGenerator())
        batches = [passes.next_batch() for _ in range(passes.steps_per_pass)]
        metrics = train_epoch(learner, pairs, batches, OneDeviceGenerator(), measure_gradients=True)
    assert all(parameter.is_meta and parameter.grad is not None for parameter in learner.model.parameters())
    branches = {"registration", "cine", "lge"} if settings.model.name == "joint" else {"registration"}
    assert {name for name in metrics if name.startswith("train/loss/")} == {f"train/loss/{name}" for name in branches}
    return device, copies


@every
def test_a_training_step_reads_whether_the_loss_is_finite_and_nothing_else(settings, patients):
    device, copies = epoch(settings, patients)
    read = device.reads
    steps = math.ceil(SLICES / settings.training.batch_size)
    asked = {"train.loop.train_epoch": steps + 1}  # whether the loss of each step is finite, and the means at the end
    shared = {"train.loop.shared_gradient_norms": 1} if settings.model.name == "joint" else {}
    assert dict(read) == asked | shared  # the norms, only if the epoch is validated
    assert set(copies.places) <= {"compute.device.constant", "alignment.gauss_newton._places"}  # both are cached
    assert copies.places["compute.device.constant"] <= 3  # not again in a second step


@pytest.mark.parametrize("settings", SHIPPED + VARIED + NOT_TRAINED)
def test_a_validation_and_a_prediction_read_their_result_and_where_it_shows_anything(settings, patients):
    model = build_model(settings).to(META)
    segments, coarse = settings.model.name == "joint", settings.training.downsampling > 1
    described = settings.registration.refinement == "descriptors"
    boxes = 2 * (segments and coarse) + described
    staged = described or settings.registration.pooling == "patient"
    expected = {
        "networks.apply.predict": 1,
        "networks.apply._labels": 2 * segments,
        "networks.registration._segmentations": segments and staged,
        "geometry.bounding_box": boxes,
    }
    expected = {place: count for place, count in expected.items() if count}
    with OneDevice() as device:
        if settings in SHIPPED:
            evaluate(model, patients[:1], "meta")
        else:
            found = predict(model, patients[0].images(), META)
            assert found.theta.shape == (2, 2, 3) and (found.cine_labels is not None) == segments
    assert dict(device.reads) == expected


def on_the_cpu(size_px: int, device: torch.device | str = "cpu") -> torch.Tensor:
    return pixel_centres(size_px)


def test_a_constant_left_on_the_cpu_stops_a_step(patients: list[CachedPatient], monkeypatch: pytest.MonkeyPatch):
    settings = tiny_settings(model__name="joint")
    epoch(settings, patients)
    monkeypatch.setattr("jointnet.geometry.pixel_centres", on_the_cpu)
    with pytest.raises((MixedDevicesError, RuntimeError), match="device"):
        epoch(settings, patients)


def test_a_meeting_that_torch_lets_pass_is_refused_too():
    image, kernel = torch.zeros(1, 1, 4, 4, device=META), torch.zeros(1, 1, 3, 3)
    torch.nn.functional.conv2d(image, kernel)
    with OneDevice(), pytest.raises(MixedDevicesError, match=r"must have one device, got CPU's \[\(1, 1, 3, 3\)\]"):
        torch.nn.functional.conv2d(image, kernel)


def test_reads_are_counted_by_who_asks_and_answered():
    with OneDevice() as device:
        numbers = torch.zeros(3, device=META)
        assert (numbers.tolist(), bool(numbers.sum() > 0), float(numbers[0])) == ([0.0, 0.0, 0.0], True, 1.0)
    assert dict(device.reads) == {"elsewhere": 3}


def test_copies_are_counted_by_who_copies():
    with CopiesToDevice() as copies:
        numbers = torch.tensor([1.0, 2.0], device=META)
        numbers[[1, 0]], numbers[:1], numbers[torch.zeros(1, dtype=torch.long)]
        torch.zeros(2).to(META), numbers.to(META), torch.zeros(2, device=META), torch.tensor([1.0])
    assert dict(copies.places) == {"elsewhere": 4}
