import itertools
import math

import pytest
import torch
from scans import easy_patients, tiny_settings
from torch import nn

from jointnet.compute.device import resolve_device
from jointnet.errors import SettingsError, TrainingDivergedError
from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model
from jointnet.model_path import MODEL_FILE
from jointnet.settings import Settings, TrainingSettings, with_values
from jointnet.structures import STRUCTURES
from jointnet.train import loop as training
from jointnet.train.loop import WARM_UP, epoch_ends, learning_rate_factor, shared_gradient_norms, train
from jointnet.train.objective import OBJECTIVE, EpochReport, Objective, known_directions

REGISTRATION = (
    {f"val/{name}" for name in ("cd_mm/lv", "cd_mm/rv", "asd_mm/lv", "asd_mm/myo", "asd_mm/rv", "lost", "cut")}
    | {f"val/dice/{name}" for name in ("lv", "myo", "rv")}
    | {OBJECTIVE}
)
SEGMENTATION = {f"val/{metric}/{name}" for metric in ("dice_cine", "dice_lge") for name in ("lv", "myo", "rv")}


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return easy_patients(tmp_path_factory.mktemp("prepared"), 5)


def run(settings, patients, seed=0, **how):
    reports = []
    best = train(settings, patients[:4], patients[4:], seed=seed, device="cpu", on_epoch=reports.append, **how)
    return best, reports


@pytest.mark.parametrize(
    ("changes", "branches"),
    [
        ({"model__name": "standalone"}, {"registration"}),
        ({"model__head": "fully_connected"}, {"registration", "cine", "lge"}),
        ({"model__head": "guided"}, {"registration", "cine", "lge"}),
    ],
)
def test_every_epoch_reports_the_documented_metrics(patients, changes, branches):
    settings = tiny_settings(**changes)
    best, reports = run(settings, patients)
    assert [report.epoch for report in reports] == [1, 2]
    losses = {"train/loss"} | {f"train/loss/{name}" for name in branches}
    for report in reports:
        of_joint = SEGMENTATION | {f"train/gradient/{name}" for name in branches}
        assert set(report.metrics) == losses | REGISTRATION | (of_joint if len(branches) > 1 else set())
        segmented = STRUCTURES if len(branches) > 1 else ()
        validated = {name for name in report.metrics if name.startswith("val/")}
        assert validated - {"val/cut"} == set(known_directions(STRUCTURES, segmented, ()))
        assert all(
            report.metrics[name] > 0
            for name in of_joint & {"train/gradient/cine", "train/gradient/lge"}
            if len(branches) > 1
        )
        assert all(type(value) is float for value in report.metrics.values())
        assert report.seconds > 0
        weights = {
            "registration": settings.loss.lambda_1,
            "cine": settings.loss.lambda_2,
            "lge": settings.loss.lambda_3,
        }
        total = sum(weights[name] * report.metrics[f"train/loss/{name}"] for name in branches)
        assert report.metrics["train/loss"] == pytest.approx(total, rel=1e-4)
    assert best is min(reports, key=lambda report: report.metrics[OBJECTIVE])


@pytest.mark.parametrize(
    "changes",
    [
        {"model__name": "standalone", "optimiser__learning_rate": 2e-3, "training__epochs": 15},
        {"optimiser__learning_rate": 1e-2, "training__epochs": 60, "training__validate_every": 30},
    ],
)
def test_an_easy_problem_is_learned(patients, changes):
    settings = tiny_settings(training__batch_size=2, training__average_decay=0.0, **changes)
    best, reports = run(settings, patients)
    assert reports[-1].metrics["train/loss"] < 0.85 * reports[0].metrics["train/loss"]
    assert best.metrics[OBJECTIVE] < 0.9


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(patients):
    settings = tiny_settings()
    first, again, other = ([report.metrics for report in run(settings, patients, seed)[1]] for seed in (3, 3, 4))
    assert first == again
    assert first[0]["train/loss"] != other[0]["train/loss"]


def test_the_caller_s_random_state_does_not_matter(patients):
    metrics = []
    for state in (1, 2):
        torch.manual_seed(state)
        metrics.append(run(tiny_settings(training__epochs=1), patients)[1][0].metrics)
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_model_on_disk_is_that_of_the_best_epoch_as_validated_in_the_training_s_precision(
    patients, tmp_path, monkeypatch, precision
):
    monkeypatch.setattr(training, "training_precision", lambda device: precision)
    settings = tiny_settings(training__epochs=4, model__name="standalone", optimiser__learning_rate=2e-2)
    best, _ = run(settings, patients, out=tmp_path)
    saved = load_model(tmp_path / MODEL_FILE)
    assert saved.epoch == best.epoch
    assert saved.settings == settings
    assert saved.patients == {"training": ("1", "2", "3", "4"), "validation": ("5",)}
    again = named_metrics(evaluate(saved.model, patients[4:], precision=precision), "val")
    for name, value in again.items():
        assert value == pytest.approx(best.metrics[name], rel=1e-5), name


def faked_objectives(monkeypatch, values):
    values = iter(values)
    monkeypatch.setattr(training, "named_metrics", lambda rows, prefix: {OBJECTIVE: next(values)})


def test_the_best_epoch_is_the_first_of_the_least_objective_and_nan_is_never_best(patients, tmp_path, monkeypatch):
    faked_objectives(monkeypatch, [math.nan, 0.9, 0.5, math.nan, 0.5, 0.7])
    best, reports = run(tiny_settings(training__epochs=6, model__name="standalone"), patients, out=tmp_path)
    assert best is reports[2]
    assert load_model(tmp_path / MODEL_FILE).epoch == 3


def test_the_best_epoch_is_that_of_the_objective_which_every_validation_must_have(patients, tmp_path, monkeypatch):
    values = itertools.cycle([0.5, 0.9, 0.7])
    metrics = {"val/dice/lv": 0.0, OBJECTIVE: 0.8}
    monkeypatch.setattr(training, "named_metrics", lambda rows, prefix: {**metrics, "val/dice/lv": next(values)})
    settings = tiny_settings(training__epochs=3, model__name="standalone")
    best, reports = run(settings, patients, out=tmp_path, objective=Objective("val/dice/lv", "maximize"))
    assert best is reports[1] and load_model(tmp_path / MODEL_FILE).epoch == 2
    with pytest.raises(
        SettingsError, match=r"^val/cd_mm/rv: must be a metric of the validation, which has val/dice/lv"
    ):
        run(settings, patients, objective=Objective("val/cd_mm/rv"))
    both = Objective("val/dice/rv", further=(Objective(OBJECTIVE), Objective("val/lost")))
    with pytest.raises(SettingsError, match=r"(?s)^val/dice/rv: must be a metric .*\nval/lost: must be a metric"):
        run(settings, patients, objective=both)


def test_an_objective_that_is_never_finite_is_an_error(patients, tmp_path, monkeypatch):
    faked_objectives(monkeypatch, itertools.repeat(math.nan))
    with pytest.raises(TrainingDivergedError, match="finite"):
        run(tiny_settings(model__name="standalone"), patients, out=tmp_path)
    assert not (tmp_path / MODEL_FILE).exists()


@pytest.mark.parametrize(("every", "validated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])])
def test_validation_is_as_rare_as_the_settings_say_and_the_last_epoch_always(patients, every, validated):
    settings = tiny_settings(training__epochs=5, training__validate_every=every, model__name="standalone")
    _, reports = run(settings, patients)
    assert [report.epoch for report in reports if OBJECTIVE in report.metrics] == validated


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training_with_its_branches(patients, tmp_path, monkeypatch, broken):
    real, calls = training.branch_losses, []

    def breaking(*arguments):
        calls.append(1)
        losses = real(*arguments)
        return losses | {"registration": losses["registration"] * broken} if len(calls) == 3 else losses

    monkeypatch.setattr(training, "branch_losses", breaking)
    with pytest.raises(TrainingDivergedError, match=r"registration (nan|inf)"):
        run(tiny_settings(training__batch_size=2), patients, out=tmp_path)
    assert len(calls) == 3
    assert not (tmp_path / MODEL_FILE).exists()


def test_weights_that_are_nan_end_the_training(patients, monkeypatch):
    real = training.build_model

    def broken(settings):
        model = real(settings)
        torch.nn.init.constant_(model.head.motion.bias, math.nan)
        return model

    monkeypatch.setattr(training, "build_model", broken)
    with pytest.raises(TrainingDivergedError):
        run(tiny_settings(model__name="standalone"), patients)


def test_what_on_epoch_raises_is_passed_on_after_the_model_is_saved(patients, tmp_path):
    class StopError(Exception):
        pass

    def stop(report):
        raise StopError(report.epoch)

    with pytest.raises(StopError, match="1"):
        train(tiny_settings(), patients[:4], patients[4:], seed=0, device="cpu", out=tmp_path, on_epoch=stop)
    assert load_model(tmp_path / MODEL_FILE).epoch == 1


def test_the_averaged_weights_start_at_the_model_s_and_end_at_their_decay():
    """With decay 0 the average is the model itself; otherwise a step moves the average by 1 - decay."""
    model, averaged = (torch.nn.Linear(1, 1) for _ in range(2))
    for module, value in ((model, 1.0), (averaged, 0.0)):
        torch.nn.init.constant_(module.weight, value)
        torch.nn.init.constant_(module.bias, value)

    def average(decay):
        training.get_ema_multi_avg_fn(decay)(list(averaged.parameters()), list(model.parameters()), None)

    average(0.75)
    assert float(averaged.weight.detach()) == pytest.approx(0.25)
    average(0.75)
    assert float(averaged.weight.detach()) == pytest.approx(1 - 0.75**2)
    average(0.0)
    assert float(averaged.weight.detach()) == 1
    assert float(model.weight.detach()) == 1


def optimiser(**values):
    return with_values(Settings(), {f"optimiser.{key}": value for key, value in values.items()}).optimiser


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize(("factor", "every"), [(0.99, 2), (0.5, 1), (1.0, 3)])
def test_the_step_schedule_falls_by_its_factor_every_few_epochs(steps, factor, every):
    rate = learning_rate_factor(optimiser(schedule="step", step_factor=factor, step_epochs=every), 100 * steps, 100)
    for number in range(1, 101):
        for step in {0, steps - 1}:
            expected = factor ** ((number - 1) // every)
            assert rate((number - 1) * steps + step) == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "epochs"), [(10, 20), (1, 5), (1, 1), (7, 60)])
def test_the_cosine_schedule_warms_up_and_falls_to_zero(steps, epochs):
    total = steps * epochs
    rate = learning_rate_factor(optimiser(schedule="cosine"), total, epochs)
    warm_up = max(1.0, WARM_UP * total)
    for done in range(total + 1):
        warm = min(1.0, (done + 1) / warm_up)
        assert rate(done) == pytest.approx(warm * math.cos(math.pi * done / total / 2) ** 2, abs=1e-12)
    assert rate(total) == rate(total + 5) == pytest.approx(0, abs=1e-12)
    assert 0 < rate(0) <= 1


@pytest.mark.parametrize(
    ("steps", "epochs", "ends"),
    [
        (None, 3, (0, 7, 14, 21)),  # an epoch is a pass of 7 steps
        (21, 3, (0, 7, 14, 21)),
        (10, 4, (0, 2, 5, 7, 10)),
        (4, 4, (0, 1, 2, 3, 4)),
        (2, 4, (0, 0, 1, 1, 2)),  # epochs without a step
        (1, 1, (0, 1)),
    ],
)
def test_steps_are_spread_evenly_over_the_epochs(steps, epochs, ends):
    own = TrainingSettings(epochs=epochs, steps=steps)
    assert epoch_ends(own, 7) == ends
    rate = learning_rate_factor(optimiser(schedule="step", step_factor=0.5, step_epochs=1), ends[-1], epochs)
    for epoch, (first, end) in enumerate(itertools.pairwise(ends)):
        assert [rate(done) for done in range(first, end)] == [0.5**epoch] * (end - first)


@pytest.mark.parametrize("steps", [11, 2])
def test_trainings_of_any_number_of_patients_take_as_many_steps_as_asked(patients, monkeypatch, steps):
    taken = []
    real = training.branch_losses
    monkeypatch.setattr(training, "branch_losses", lambda *a: taken.append(len(a[1])) or real(*a))
    settings = tiny_settings(
        training__steps=steps, training__epochs=4, training__batch_size=3, model__name="standalone"
    )
    for count in (1, 4):  # 2 and 8 slices: 1 and 3 steps a pass
        taken.clear()
        reports = []
        train(settings, patients[:count], patients[4:], seed=0, device="cpu", on_epoch=reports.append)
        assert len(taken) == steps and [report.epoch for report in reports] == [1, 2, 3, 4]
        assert taken == ([2] * steps if count == 1 else [3, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3][:steps])
        trained = [report.epoch for report in reports if "train/loss" in report.metrics]
        assert trained == ([1, 2, 3, 4] if steps == 11 else [2, 4])
        assert all(OBJECTIVE in report.metrics for report in reports)


def test_as_many_steps_as_the_passes_have_are_the_same_training(patients):
    by_passes = run(tiny_settings(training__batch_size=3), patients)[1]
    by_steps = run(tiny_settings(training__batch_size=3, training__steps=6), patients)[1]
    assert [report.metrics for report in by_passes] == [report.metrics for report in by_steps]


@pytest.mark.parametrize(
    ("named", "there", "expected"), [("cpu", True, "cpu"), ("auto", True, "cuda"), ("auto", False, "cpu")]
)
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, named, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device(named) == expected


def test_a_report_is_frozen_plain_data():
    report = EpochReport(1, 0.5, {"train/loss": 1.0})
    with pytest.raises(AttributeError):
        report.epoch = 2


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
