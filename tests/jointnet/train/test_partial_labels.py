"""Training of patients of whom not every scan or structure is labelled."""

import math

import numpy as np
import pytest
import torch
from scans import easy_patients, heart, prepared, tiny_settings

from jointnet.batches.dataset import SlicePairDataset
from jointnet.evaluate.metrics import defined_metrics, undefined_metric_errors
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model
from jointnet.networks import build_model
from jointnet.structures import CLASS_INDEX, STRUCTURES
from jointnet.train.loop import new_learner, train, train_epoch
from jointnet.train.losses import branch_losses

EVERYTHING = tuple((image, name) for image in (0, 1) for name in STRUCTURES)


def partly(folder, number, undrawn=(), empty_slices=(), slices=2):
    """Return a patient in whose labels some (image, structure) are missing everywhere, and some slices are empty."""
    labels = np.stack(
        [np.stack([heart((2.0 * number, place)), heart((2.0 * number + 6, place - 4.5))]) for place in range(slices)]
    )
    for image, name in undrawn:
        labels[:, image][labels[:, image] == CLASS_INDEX[name]] = 0
    labels[list(empty_slices)] = 0
    return prepared(folder, number, labels, seed=number)


def of_image(image):
    return tuple((image, name) for name in STRUCTURES)


CASES = {
    "one structure only": ((tuple((image, name) for image in (0, 1) for name in ("myo", "rv")),), ("lv",)),
    "RV not drawn in cine of one patient": (((), ((0, "rv"),)), STRUCTURES),
    "RV not drawn in one patient": (((), ((0, "rv"), (1, "rv"))), STRUCTURES),
    "only LGE labelled in one patient": (((), of_image(0)), STRUCTURES),
    "only cine labelled in one patient": (((), of_image(1)), STRUCTURES),
    "nothing labelled in one patient": (((), EVERYTHING), STRUCTURES),
    "LV not drawn in LGE, so no scar": (((), ((1, "lv"),)), STRUCTURES),
    "RV not wanted": (((),), ("lv", "myo")),
}


@pytest.mark.parametrize("model", ["standalone", "joint"])
@pytest.mark.parametrize("case", CASES)
def test_a_training_goes_through_and_measures_the_structures_of_the_data(tmp_path, model, case):
    undrawn, structures = CASES[case]
    patients = [partly(tmp_path, number, missing) for number, missing in enumerate(undrawn, start=1)]
    validation = easy_patients(tmp_path / "validation", 1)
    settings = tiny_settings(model__name=model, model__structures=structures, training__epochs=1)
    report = train(settings, patients, validation, seed=0, device="cpu", out=tmp_path)
    assert all(math.isfinite(value) for value in report.metrics.values())
    saved = load_model(tmp_path / "model.pt")
    rows = evaluate(saved.model, validation)
    segmented = rows[rows["metric"].isin(["dice_cine", "dice_lge"])]
    assert set(segmented["structure"]) == (set(structures) if model == "joint" else set())


@pytest.mark.parametrize(("labelled", "other"), [(0, 1), (1, 0)])
def test_a_patient_of_whom_one_scan_is_labelled_trains_that_branch_alone(tmp_path, labelled, other):
    patient = partly(tmp_path, 1, of_image(other))
    settings = tiny_settings(model__sharing="none")
    torch.manual_seed(0)
    model = build_model(settings)
    batch = SlicePairDataset([patient], 4, 0, "cpu").batch(torch.arange(2))
    output = model(batch.cine, batch.lge)
    losses = branch_losses(output, batch.cine_labels, batch.lge_labels, batch.field, batch.labelled, settings.loss)
    names = ("cine", "lge")
    assert float(losses["registration"].detach()) == float(losses[names[other]].detach()) == 0
    assert float(losses[names[labelled]].detach()) > 0
    torch.stack(list(losses.values())).sum().backward()

    def reached(image):
        parts = (*model.encoders[image].parameters(), *model.decoders[image].parameters())
        return any(part.grad is not None and bool(part.grad.any()) for part in parts)

    assert reached(labelled) and not reached(other)


def test_a_slice_in_which_nothing_is_labelled_is_not_trained_on(tmp_path):
    assert len(SlicePairDataset([partly(tmp_path, 1, empty_slices=(0, 2), slices=3)], 4, 0, "cpu")) == 1


def test_a_step_on_one_patient_without_registration_leaves_the_registration_alone(tmp_path):
    """The fully connected head gets no gradient from a patient of whom LGE only is labelled."""
    settings = tiny_settings(model__head="fully_connected", training__epochs=1)
    pairs = SlicePairDataset([partly(tmp_path, 1, of_image(0))], 4, 0, "cpu")
    torch.manual_seed(0)
    learner = new_learner(settings, 1, torch.device("cpu"))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    losses = train_epoch(learner, pairs, [torch.arange(2)], torch.Generator().manual_seed(0), True)
    assert losses["train/loss/registration"] == losses["train/loss/cine"] == 0
    assert losses["train/loss/lge"] > 0
    changed = {name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith("head.") for name in changed)


def test_a_model_that_only_registers_does_not_see_patients_of_whom_one_scan_is_labelled(tmp_path):
    patients = [partly(tmp_path, 1), partly(tmp_path, 2, of_image(0)), partly(tmp_path, 3, of_image(1))]
    validation = easy_patients(tmp_path / "validation", 1)
    settings = tiny_settings(model__name="standalone", training__epochs=1)
    with_them, without_them = (
        train(settings, part, validation, seed=0, device="cpu") for part in (patients, patients[:1])
    )
    assert with_them.metrics == without_them.metrics


def test_data_in_which_no_patient_shows_a_structure_in_both_scans_are_refused(tmp_path):
    patients = [partly(tmp_path, 1, ((1, "rv"),)), partly(tmp_path, 2, ((1, "rv"),)), partly(tmp_path, 3, of_image(0))]
    found = {each.patient: defined_metrics(each.labels(), each.field()) for each in patients}
    (error,) = undefined_metric_errors("--train: patients", found, "learned", STRUCTURES)
    assert "must show rv in both segmentations of a slice" in error
    assert undefined_metric_errors("--train: patients", found, "learned", ("lv", "myo")) == []
