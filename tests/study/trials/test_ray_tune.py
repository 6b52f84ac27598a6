"""The search of an arm with a real local Ray and very small trainings."""

import errno
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray as ray_module
import torch
from cohort import cached_patients
from mlflow import MlflowClient
from ray import tune
from rich.console import Console

from jointnet.errors import DataError, TrainingDivergedError
from jointnet.preparation.cache import CachedPatient
from jointnet.settings import Settings, with_values
from jointnet.train.objective import OBJECTIVE, EpochReport
from study.machines.fit_node import UnfitNodeError
from study.plan.plan import Resources
from study.search.outcome import TrialOutcome
from study.search.parameters import Parameter, Range
from study.search.space import Budget, Fidelity, Method, Objective, SearchSpace
from study.selection.best_trial import select_best
from study.store_names import EXPERIMENT, INTERRUPTED, TIME_BUDGET
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.file_keeper import StaleAttemptError
from study.trials.ledger import Ledger
from study.trials.progress import ArmProgress, StudyProgress
from study.trials.ray_tune import cause_of, reason_of, run_round
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch, Cause
from study.trials.through_ray import TEMPORARY, FilesThroughRay, PatientStore
from study.trials.trial import ArmTask, ObjectiveNotFiniteError, OnEpoch, RunTrial, TrialSpec, run_trial
from study.trials.work import RetrainWork, SearchWork, Work, retrain_seeds

ALPHA = Parameter("alpha", Range(0.0, 1.0), ("standalone",))
TINY = with_values(
    Settings(),
    {
        "model.name": "standalone",
        "model.widths": [4, 4],
        "training.downsampling": 4,
        "training.validate_every": 1,
    },
)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE_CPU = Resources(2, 1.0, 0.0, "cpu")


def _space(samples: int, epochs: int) -> SearchSpace:
    base = with_values(TINY, {"training.epochs": epochs})
    fidelity, budget = Fidelity(epochs, min(2, epochs), 2), Budget(samples, None)
    return SearchSpace(
        "own",
        "?",
        (Method("standalone", "standalone"),),
        "default",
        base,
        {},
        Objective("val/registration_ratio", "minimize"),
        (ALPHA,),
        fidelity,
        budget,
    )


def _search(
    uri: str,
    folder: Path,
    space: SearchSpace,
    arm: str,
    seconds: float | None = None,
    broken: bool = False,
    at_event: Callable[[ArmSearch, str], None] | None = None,
    at_once: int = 2,
    winner: TrialOutcome | None = None,
    gpus: float = 0.0,
    run: RunTrial = run_trial,
    through_ray: bool = False,
) -> tuple[list[TrialOutcome], str]:
    """Search an arm with one driver, or retrain its winner; `at_event` is called at every event of the ledger.

    With `through_ray` no worker can read the cache, or trains in the study's folder.
    """
    if not (folder / f"cache-{arm}").exists():
        cached_patients(folder / f"cache-{arm}", 3)
    patients = [CachedPatient(str(n), folder / f"cache-{arm}" / f"digest-{n}", f"digest-{n}") for n in (1, 2, 3)]
    if broken:
        (patients[0].path / "images.npy").write_bytes(b"damaged")
    settings = space.settings_of("standalone")
    task = ArmTask(arm, settings, tuple(patients[:2]), tuple(patients[2:]), 0, "cpu", 1, folder / arm)
    text = io.StringIO()
    progress = StudyProgress({arm: ArmProgress(arm, 2, 4, 60)}, 0, Console(file=text, width=200))
    outbox = Outbox(progress.note, is_permanent)
    with Ledger(folder) as ledger:
        work: Work = SearchWork(arm, space.parameters_of("standalone"), space.fidelity, space.budget.num_samples, 0)
        if winner is not None:
            whole = replace(space.fidelity, grace_epochs=space.fidelity.max_epochs)
            work = RetrainWork(f"{arm}/retrain/{winner.trial_id}", winner, whole, 2, 0)
            task = replace(task, arm=work.key, folder=folder / arm / "retrain")
        retrains = "" if winner is None else winner.trial_id
        records = ledger, StudyTracker(uri, arm, {}), outbox, progress
        recorder = ArmRecorder(task, {"arm": arm}, *records, row=arm, retrains=retrains)
        search = ArmSearch(work, recorder, at_once, gpus)
        recorder.catch_up()
        search.end_finished()
        if at_event is not None:
            append = ledger.append

            def noted(kind: str, **values: object) -> dict:
                event = append(kind, **values)
                at_event(search, kind)
                return event

            ledger.append = noted  # type: ignore[method-assign]
        progress.arm_started(arm, seconds)
        if through_ray:

            def run_elsewhere(spec: TrialSpec, on_epoch: OnEpoch) -> EpochReport:
                assert spec.task.folder.name.startswith(TEMPORARY)
                return run_trial(spec, on_epoch)

            sent, files = PatientStore().sent(task), FilesThroughRay(folder)
            (folder / f"cache-{arm}").rename(folder / "hidden")
            run_round(sent, search, ONE_CPU, folder / "tune", seconds, run_elsewhere, files)
            (folder / "hidden").rename(folder / f"cache-{arm}")
        else:
            run_round(task, search, ONE_CPU, folder / "tune", seconds, run)
        assert not (folder / "tune").exists()
        assert outbox.close(60) == 0
        return list(recorder.outcomes.values()), text.getvalue()


def _run_of(uri: str, arm: str, trial_id: str) -> Any:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    condition = f"tags.`study.id` = '{arm}' and tags.`trial.id` = '{trial_id}'"
    (run,) = client.search_runs([experiment.experiment_id], condition)
    return run


@pytest.mark.slow
def test_two_trials_are_searched_recorded_and_selected_from(ray: None, uri: str, tmp_path: Path):
    outcomes, _ = _search(uri, tmp_path, _space(2, 2), "standalone-2")
    assert [outcome.state for outcome in outcomes] == ["complete", "complete"]
    assert len({outcome.sample["alpha"] for outcome in outcomes}) == 2
    chosen = select_best("standalone-2", outcomes, 2, NOW)
    assert chosen.model.is_file() and chosen.model.is_relative_to(tmp_path / "standalone-2" / chosen.trial.trial_id)
    client = MlflowClient(uri)
    for outcome in outcomes:
        run = _run_of(uri, "standalone-2", outcome.trial_id)
        assert run.info.status == "FINISHED"
        assert float(run.data.params["alpha"]) == outcome.sample["alpha"]
        assert run.data.tags["trial.node"] == ray_module.util.get_node_ip_address()
        history = client.get_metric_history(run.info.run_id, OBJECTIVE)
        assert [point.step for point in history] == list(range(1, outcome.epoch + 1))
        assert min(point.value for point in history) == outcome.objective
        assert [item.path for item in client.list_artifacts(run.info.run_id, "model")] == ["model/model.pt"]
        left = {str(path.relative_to(outcome.model.parents[1])) for path in outcome.model.parents[1].rglob("*")}
        assert left == {"best", "best/model.pt"}


@pytest.mark.slow
def test_a_trial_that_raises_fails_alone_with_its_reason(ray: None, uri: str, tmp_path: Path):
    outcomes, said = _search(uri, tmp_path, _space(2, 2), "standalone-3", broken=True)
    assert [outcome.state for outcome in outcomes] == ["failed", "failed"]  # the second was tried nevertheless
    run = _run_of(uri, "standalone-3", "t0001")
    assert run.info.status == "FAILED" and run.data.tags["trial.state"] == "failed"
    assert run.data.tags["trial.reason"].startswith("ValueError: ")
    assert "failed: ValueError: " in " ".join(said.split())


@pytest.mark.slow
def test_a_trial_that_does_not_fit_beside_another_on_a_gpu_is_trained_where_it_has_more(ray, uri, tmp_path: Path):
    def needs_a_whole_one(spec: TrialSpec, on_epoch: OnEpoch) -> None:
        (bundle,) = ray_module.util.get_current_placement_group().bundle_specs
        if spec.trial_id == "t0001" and bundle["GPU"] < 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        run_trial(spec, on_epoch)

    outcomes, said = _search(uri, tmp_path, _space(2, 1), "standalone-9", gpus=0.5, run=needs_a_whole_one)
    assert [outcome.state for outcome in outcomes] == ["complete", "complete"]
    assert "t0001 failed (1 of 3 without a new epoch): OutOfMemoryError: CUDA out of memory." in said
    assert "a GPU had too little memory for 2 trials: from now on a trial gets 1 GPU (next time: --gpus-per-" in said


@pytest.mark.slow
def test_killed_workers_and_a_gentle_stop_change_nothing(ray: None, uri: str, tmp_path: Path):
    """A worker is killed in the first trial. The driver stops gently in the second, and another driver continues.

    The twin's files are in place, this search's go through Ray.
    """
    space = replace(_space(2, 3), budget=Budget(2, None))
    twin, _ = _search(uri, tmp_path / "twin", space, "standalone-6", at_once=1)
    epochs: list[int] = []

    def disturb(search: ArmSearch, kind: str) -> None:
        epochs.extend([1] if kind == "epoch" else [])
        if kind == "epoch" and len(epochs) == 1:
            _kill_workers()
        if len(epochs) == 4:
            search.halt(INTERRUPTED)

    stopped, said = _search(uri, tmp_path / "own", space, "standalone-7", at_event=disturb, at_once=1, through_ray=True)
    assert "an attempt at trial t0001 failed (1 of 3 without a new epoch): " in said
    assert "; it resumes from its checkpoint" in said
    assert sum(outcome.epoch for outcome in stopped) == 4
    after, _ = _search(uri, tmp_path / "own", space, "standalone-7", at_once=1, through_ray=True)
    for mine, other in zip(after, twin, strict=True):
        assert (mine.sample, mine.state, mine.objective) == (other.sample, other.state, other.objective)
        assert [epoch.metrics for epoch in mine.epochs] == [epoch.metrics for epoch in other.epochs]
        run = _run_of(uri, "standalone-7", mine.trial_id)
        points = MlflowClient(uri).get_metric_history(run.info.run_id, "train/loss")
        assert [(p.step, p.value) for p in points] == [(e.epoch, e.metrics["train/loss"]) for e in other.epochs]
        assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_retraining_is_the_winners_training_with_its_own_seed_though_a_worker_is_killed(ray, uri, tmp_path: Path):
    space = _space(1, 2)
    (winner,), _ = _search(uri, tmp_path, space, "standalone-8")
    killed: list[str] = []

    def disturb(search: ArmSearch, kind: str) -> None:
        if kind == "epoch" and not killed:
            killed.append(kind)
            _kill_workers()

    again, said = _search(uri, tmp_path, space, "standalone-8", at_event=disturb, at_once=1, winner=winner)
    assert "an attempt at trial t0001-s1 failed (1 of 3 without a new epoch): " in said
    assert "; it resumes from its checkpoint" in said
    assert [(o.trial_id, o.seed, o.state, o.epoch) for o in again] == [
        (f"t0001-s{number}", seed, "complete", 2) for number, seed in enumerate(retrain_seeds(0, 2), start=1)
    ]
    patients = [
        CachedPatient(str(n), tmp_path / "cache-standalone-8" / f"digest-{n}", f"digest-{n}") for n in (1, 2, 3)
    ]
    alone = tmp_path / "alone"
    task = ArmTask("a", space.settings_of("standalone"), (*patients[:2],), (*patients[2:],), 0, "cpu", 1, alone)
    for outcome in again:
        assert outcome.sample == winner.sample
        own = [report.metrics for report in _reports_of(TrialSpec(task, outcome.trial_id, winner.sample, outcome.seed))]
        assert [epoch.metrics for epoch in outcome.epochs] == own != [epoch.metrics for epoch in winner.epochs]
        run = _run_of(uri, "standalone-8", outcome.trial_id)
        assert (run.data.tags["study.kind"], run.data.tags["retrain.of"]) == ("retrain", "t0001")
        assert (run.data.tags["seed"], run.info.status) == (str(outcome.seed), "FINISHED")


def _reports_of(spec: TrialSpec) -> list[EpochReport]:
    """Run a trial in this process and return what it reports."""
    reports: list[EpochReport] = []
    run_trial(spec, reports.append)
    return reports


def _kill_workers() -> None:
    """Kill the trial processes of the Ray that this test started."""
    below = psutil.Process().children(recursive=True)
    workers = [process for process in below if "ray::ImplicitFunc" in " ".join(process.cmdline())]
    assert workers
    for worker in workers:
        worker.kill()


class _FakeTuner:
    """A stand-in for `tune.Tuner` that starts two trials, ends the first, and returns while the second still runs."""

    def __init__(self, trainable: object, *, tune_config: tune.TuneConfig, run_config: tune.RunConfig) -> None:
        self.stopper, self.searcher = run_config.stop, tune_config.search_alg
        self.scheduler = tune_config.scheduler
        (self.callback,) = run_config.callbacks or []

    def fit(self) -> None:
        first, second = (SimpleNamespace(trial_id=name) for name in ("a", "b"))
        for trial, value in ((first, 0.5), (second, 0.9)):
            trial.config = self.searcher.suggest(trial.trial_id)
            report = [{"epoch": 1, "metrics": {"train/loss": 1.0, OBJECTIVE: value}}]
            assert self.scheduler.on_trial_result(None, trial, {"report": report}) == "CONTINUE"
        assert self.searcher.suggest("c") is None
        report = [{"epoch": 2, "metrics": {"train/loss": 1.0, OBJECTIVE: 0.4}}]
        self.scheduler.on_trial_result(None, first, {"report": report})
        self.callback.on_trial_complete(0, [], first)
        assert self.stopper.stop_all() is False
        _FakeClock.now += 60
        self.stopper.stop_all()


class _FakeClock:
    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now

    time = monotonic


@pytest.mark.parametrize(
    ("seconds", "ended", "status"), [(60, ("stopped", TIME_BUDGET), "KILLED"), (None, ("running", ""), "KILLED")]
)
def test_what_still_runs_at_the_end_was_cut_by_time_or_waits(
    seconds, ended: tuple[str, str], status: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("study.trials.ray_tune.tune.Tuner", _FakeTuner)
    monkeypatch.setattr("study.trials.scheduling.time", _FakeClock)
    arm = f"late-{seconds}"
    outcomes, _ = _search(uri, tmp_path, _space(2, 2), arm, seconds=seconds)
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [("complete", ""), ended]
    assert [_run_of(uri, arm, outcome.trial_id).info.status for outcome in outcomes] == ["FINISHED", status]


@pytest.mark.slow
def test_the_time_budget_ends_a_search_that_would_never_end(ray: None, uri: str, tmp_path: Path):
    """Workers take about as long to start as the time budget, so the first validations come after its end."""
    space = replace(_space(2, 100_000), fidelity=Fidelity(100_000, 100_000, 2))
    space = replace(space, base=with_values(space.base, {"training.validate_every": 3}))
    outcomes, _ = _search(uri, tmp_path, space, "standalone-5", seconds=2)
    assert {(outcome.state, outcome.reason) for outcome in outcomes} == {("stopped", TIME_BUDGET)}
    assert all(outcome.model is not None and outcome.model.is_file() for outcome in outcomes)
    assert all(outcome.best_epoch and outcome.best_epoch % 3 == 0 for outcome in outcomes)


def wrapped(cause: BaseException) -> BaseException:
    error = RuntimeError("ray::_trainable() ... Traceback")
    error.cause = cause  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TrainingDivergedError("NaN"), Cause.TRAINING),
        (ObjectiveNotFiniteError("inf"), Cause.TRAINING),
        (DataError("x"), Cause.TRAINING),
        (ValueError("x"), Cause.TRAINING),
        (RuntimeError("shapes differ"), Cause.TRAINING),
        (UnfitNodeError("node-c joined late"), Cause.NODE),
        (StaleAttemptError("a later attempt has begun"), Cause.MACHINE),
        (OSError(errno.ENOSPC, "No space left on device"), Cause.DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Cause.DISK),
        (OSError(errno.EIO, "Input/output error"), Cause.MACHINE),
        (MemoryError(), Cause.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Cause.GPU_MEMORY),
        (RuntimeError("CUDA error: out of memory"), Cause.GPU_MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), Cause.GPU_MEMORY),
        (RuntimeError("CUDA error: unspecified launch failure"), Cause.MACHINE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Cause.MEMORY),
        (ray_module.exceptions.OutOfMemoryError("killed by the memory monitor"), Cause.MEMORY),
        (ray_module.exceptions.RayActorError(), Cause.MACHINE),
        (ray_module.exceptions.RayActorError(None, "The actor died because its node has died. Node Id: 1"), Cause.LOST),
        (ray_module.exceptions.ActorUnavailableError("The actor is unavailable: no answer", None), Cause.LOST),
        (ray_module.exceptions.WorkerCrashedError(), Cause.MACHINE),
        (None, Cause.MACHINE),
    ],
)
def test_what_the_training_did_is_final_and_what_the_machine_did_is_not(error, cause):
    assert cause_of(error) is cause
    if error is not None:
        assert cause_of(wrapped(error)) is cause


def test_a_reason_is_one_line_without_rays_wrapping():
    assert reason_of(wrapped(TrainingDivergedError("the loss must be\nfinite"))) == (
        "TrainingDivergedError: the loss must be finite"
    )
    assert reason_of(None) == "it ended without an error message"
