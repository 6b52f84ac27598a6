"""A simulated study of two folds and two seeds. Killed at any event, it ends like one without interruption."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plans import plan_of
from rich.console import Console
from simulation import KilledError, MortalLedger, NullOutbox, run_to_end, space

from jointnet.preparation.cache import CachedPatient
from jointnet.preparation.patient_files import PatientFiles
from jointnet.train.objective import OBJECTIVE
from study.plan.plan import Design, Plan, make_arms
from study.plan.splits import make_folds
from study.run.conduct import _rows
from study.run.pseudo_labels import PreparedPatients
from study.run.rounds import Session
from study.run.stages import evaluate_on_test, retrain_winners, search_arms, select_trials
from study.run.study_recorder import StudyRecorder
from study.search.file.split_counts import parse_counts
from study.search.outcome import NoFinishedTrialError
from study.selection.best_trial import select_best
from study.selection.held_out import HeldOutResult
from study.selection.openings import FIRST, is_complete, retrainings
from study.store_names import BASELINES
from study.trials.ledger import Ledger
from study.trials.progress import StudyProgress
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask
from study.trials.work import retrain_seeds

PATIENTS = [str(number) for number in range(1, 9)]
FILES: dict[str, PatientFiles] = {name: None for name in PATIENTS}  # type: ignore[misc]


class NoRounds:
    """Rounds that run in this process by the formula of `simulation`."""

    def start_ray(self) -> None:
        """Do nothing."""

    def wait(self, search: ArmSearch) -> None:
        """Return at once."""

    def run(self, search: ArmSearch, task: ArmTask, seconds: float | None) -> None:
        """Run the search to its end."""
        run_to_end(search, search._recorder)


class FlushedOutbox(NullOutbox):
    """An outbox that delivers nothing and has no entries left."""

    def flush(self, seconds: float) -> int:
        """Return 0, the number of entries left."""
        return 0


@pytest.fixture
def measured() -> list[tuple[Any, ...]]:
    """Return the evaluations of baselines: name, test patients and folder of each."""
    return []


@pytest.fixture(autouse=True)
def opened(measured: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Return the test evaluations: test patients, seeds and folder of each."""
    tested: list[tuple[Any, ...]] = []

    def evaluate_held_out(patients: Any, models: Any, folder: Path, device: str, code: Any) -> HeldOutResult:
        assert all(path.is_file() for path in models.values())
        tested.append((tuple(patients), tuple(models), str(folder)))
        return HeldOutResult("f", {"test/lost": 0.0})

    def evaluate_baseline(name: str, patients: Any, folder: Path, device: str) -> HeldOutResult:
        measured.append((name, tuple(patients), str(folder)))
        return HeldOutResult("f", {"test/lost": 1.0})

    monkeypatch.setattr("study.run.stages.evaluators", lambda: BASELINES)
    monkeypatch.setattr("study.run.stages.evaluate_baseline", evaluate_baseline)
    monkeypatch.setattr("study.run.stages.select", lambda files, numbers: tuple(numbers))
    monkeypatch.setattr("study.run.stages.prepare", lambda files, cache: files)
    monkeypatch.setattr("study.run.stages.evaluate_held_out", evaluate_held_out)
    monkeypatch.setattr("study.run.stages.write_optuna_file", lambda path, arms, metric: None)
    yield tested


def plan_in(folder: Path, seeds: int = 2, samples: int = 2) -> Plan:
    """Return a plan of one arm with two folds."""
    own = space(samples=samples, epochs=2, grace=1)
    dealt = make_folds(PATIENTS, 2, parse_counts(["2/1"], test_optional=True), 0)
    arms = tuple(arm for fold, splits in enumerate(dealt, 1) for arm in make_arms([own], splits, fold=fold, folds=2))
    plan = plan_of(design=Design(folds=2, seeds=seeds))
    return replace(plan, arms=arms, out=folder.parent, study_id=folder.name)


def conduct(plan: Plan, dies_at: int = 0, written: bool = True) -> list[str]:
    """Run the study with one driver."""
    patients = PreparedPatients({name: CachedPatient(name, Path(f"/cache/{name}"), name) for name in PATIENTS})
    with MortalLedger(plan.folder, dies_at, written) as ledger:
        outbox: Any = FlushedOutbox()
        progress = StudyProgress(_rows(plan), 0, Console(file=io.StringIO()))
        tracker: Any = None
        recorder = StudyRecorder(plan, ledger, tracker, outbox)
        session, rounds = Session(plan, ledger, tracker, outbox, recorder, progress), NoRounds()
        search_arms(session, rounds, patients)  # type: ignore[arg-type]
        selections, missing = select_trials(session)
        retrain_winners(session, rounds, patients, selections)  # type: ignore[arg-type]
        missing += evaluate_on_test(session, selections, FILES)
        ledger.append("delivered")
        assert is_complete(plan, ledger, selections)
        return missing


def left(folder: Path) -> list[Any]:
    """Return what must not depend on when a driver was killed: trainings, selections, and test evaluations."""
    with Ledger(folder) as ledger:
        trainings = [
            (key, t.trial_id, t.seed, dict(t.sample), t.state, t.reason, [(e.epoch, dict(e.metrics)) for e in t.epochs])
            for key in sorted(ledger.groups())
            for t in ledger.outcomes(key).values()
        ]
        events = [
            {name: value for name, value in event.items() if name not in ("at_ms", "selection")}
            for event in ledger.events
            if event["event"] in ("selected", "opened", "tested", "baseline")
        ]
        return [trainings, sorted(events, key=lambda event: (event["arm"], event["event"]))]


def test_models_and_baselines_are_tested_with_the_threads_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan, before, threads = plan_in(tmp_path / "study"), torch.get_num_threads(), list[int]()

    def evaluated(*_: Any) -> HeldOutResult:
        threads.append(torch.get_num_threads())
        return HeldOutResult("f", {"test/lost": 0.0})

    for name in ("evaluate_held_out", "evaluate_baseline"):
        monkeypatch.setattr(f"study.run.stages.{name}", evaluated)
    conduct(replace(plan, resources=replace(plan.resources, cpus_per_trial=before + 1.5)))
    assert threads == [before + 1] * (2 + 2 * len(BASELINES))
    assert torch.get_num_threads() == before


def test_an_undisturbed_study_searches_retrains_and_opens_each_fold_once(tmp_path: Path, opened):
    plan = plan_in(tmp_path / "twin")
    assert conduct(plan) == []
    trainings, events = left(plan.folder)
    arms = ["fold-1/standalone-2", "fold-2/standalone-2"]
    assert {key.split("/retrain/")[0] for key, *_ in trainings} == set(arms)
    again = [training for training in trainings if "/retrain/" in training[0]]
    assert [seed for _, _, seed, *_ in again] == [*retrain_seeds(0, 2), *retrain_seeds(0, 2)]
    assert {(state, len(epochs)) for *_, state, _, epochs in again} == {("complete", 2)}
    assert [(e["arm"], e["reason"]) for e in events if e["event"] == "opened"] == [(arm, FIRST) for arm in arms]
    assert [seeds for _, seeds, _ in opened] == [(1, 2), (1, 2)]
    assert sorted(name for names, *_ in opened for name in names) == PATIENTS
    with Ledger(plan.folder) as ledger:
        kinds = [event["event"] for event in ledger.events]
        assert kinds.index("opened") > max(i for i, kind in enumerate(kinds) if kind in ("selected", "ended"))
        for arm in plan.arms:
            chosen = select_best(arm.key, ledger.outcomes(arm.key).values(), 2, plan.started)
            for model in retrainings(plan, arm, ledger, chosen):
                assert model.sample == chosen.trial.sample
                assert model.model == plan.arm_folder(arm) / "retrain" / model.trial_id / "best" / "model.pt"


@pytest.mark.parametrize(("written", "step"), [(True, 1), (False, 5)])
def test_a_driver_killed_at_any_event_loses_and_doubles_no_retraining(tmp_path: Path, written: bool, step: int):
    conduct(plan_in(tmp_path / "twin"))
    twin = left(tmp_path / "twin")
    with Ledger(tmp_path / "twin") as ledger:
        events = len(ledger.events)
    assert events > 40
    for moment in range(1, events + 1, step):
        plan = plan_in(tmp_path / f"at-{moment}")
        with pytest.raises(KilledError):
            conduct(plan, dies_at=moment, written=written)
        conduct(plan)
        assert left(plan.folder) == twin, moment


def test_baselines_are_evaluated_once_per_fold_after_the_opening_and_before_the_arms(tmp_path: Path, measured):
    plan = plan_in(tmp_path / "own", seeds=0)
    conduct(plan)
    folders = {1: plan.folder / "fold-1/baselines", 2: plan.folder / "fold-2/baselines"}
    tests = {arm.fold: arm.split.test for arm in plan.arms}
    assert measured == [(name, tests[fold], str(folders[fold] / name)) for fold in (1, 2) for name in BASELINES]
    with Ledger(plan.folder) as ledger:
        kinds = [event["event"] for event in ledger.events]
    assert kinds.index("tested") > max(place for place, kind in enumerate(kinds) if kind == "baseline")
    assert kinds.index("baseline") > max(place for place, kind in enumerate(kinds) if kind == "opened")
    conduct(plan_in(tmp_path / "own", seeds=1))  # opens again for the arms
    assert len(measured) == 2 * len(BASELINES)


def test_a_baseline_that_fails_or_cannot_run_is_left_out(tmp_path: Path, monkeypatch):
    def fail(*_: Any) -> HeldOutResult:
        raise RuntimeError("no overlap")

    monkeypatch.setattr("study.run.stages.evaluators", lambda: {"simpleitk": fail})
    monkeypatch.setattr("study.run.stages.evaluate_baseline", fail)
    plan = plan_in(tmp_path / "own", seeds=0)
    assert conduct(plan) == []
    with Ledger(plan.folder) as ledger:
        assert ledger.last("baseline") is None and ledger.last("tested") is not None
    monkeypatch.setattr("study.run.stages.evaluate_baseline", disk_full := lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(OSError):
        conduct(plan_in(tmp_path / "full", seeds=0))
    assert disk_full


def test_more_seeds_go_on_and_open_again_with_the_reason(tmp_path: Path, opened):
    for seeds, expected in ((0, (None,)), (2, (1, 2)), (3, (1, 2, 3))):
        before = len(opened)
        conduct(plan_in(tmp_path / "own", seeds=seeds))
        assert [each for _, each, _ in opened[before:]] == [expected, expected]
    with Ledger(tmp_path / "own") as ledger:
        reasons = [e["reason"] for e in ledger.events if e["event"] == "opened" and e["arm"].startswith("fold-1")]
        ended = [e["trial"] for e in ledger.events if e["event"] == "ended" and "/retrain/" in e["arm"]]
    (winner,) = {name.split("-")[0] for name in ended[:2]}
    assert reasons[0] == FIRST
    assert reasons[1].startswith(f"2 retrained models instead of {winner} itself as of epoch 2")
    assert reasons[2] == "3 retrained models instead of 2 retrained models"
    assert len(ended) == len(set(zip(ended, ["fold-1"] * 2 + ["fold-2"] * 2 + ["fold-1", "fold-2"], strict=True))) == 6


def test_another_winner_is_retrained_anew_and_the_old_retrainings_stay_on_record(tmp_path: Path, monkeypatch):
    plan = plan_in(tmp_path / "own", samples=1)
    conduct(plan)
    with Ledger(plan.folder) as ledger:
        first = {key for key in ledger.groups() if "/retrain/" in key}
    monkeypatch.setattr("simulation.metrics_of", lambda sample, epoch: {OBJECTIVE: 0.001 / epoch})
    conduct(plan_in(tmp_path / "own", samples=2))
    with Ledger(plan.folder) as ledger:
        assert {key for key in ledger.groups() if "/retrain/" in key} == first | {
            f"fold-{fold}/standalone-2/retrain/t0002" for fold in (1, 2)
        }
        reasons = [event["reason"] for event in ledger.events if event["event"] == "opened"]
    assert reasons[2:] == ["after more trials t0002 is selected instead of t0001"] * 2


def test_where_no_retraining_ends_with_a_model_nothing_is_opened(tmp_path: Path, opened):
    plan = plan_in(tmp_path / "own")
    conduct(plan_in(tmp_path / "own", seeds=0))
    with Ledger(plan.folder) as ledger:
        for arm in plan.arms:
            chosen = select_best(arm.key, ledger.outcomes(arm.key).values(), 2, plan.started).trial.trial_id
            for number, seed in enumerate(retrain_seeds(0, 2), 1):
                own = {"arm": f"{arm.key}/retrain/{chosen}", "trial": f"{chosen}-s{number}"}
                ledger.append("drawn", **own, number=number, sample={"alpha": 0.5}, seed=seed)
                ledger.append("ended", **own, state="failed", reason="NaN", model=None)
    before = len(opened)
    lines = conduct(plan)
    assert len(opened) == before and len(lines) == 2
    assert lines[0] == (
        "fold-1/standalone-2: at least one of 2 retrainings must end with an objective and a model, none did (NaN; NaN)"
    )
    with pytest.raises(NoFinishedTrialError):
        select_best("a", (), 1, plan.started)
