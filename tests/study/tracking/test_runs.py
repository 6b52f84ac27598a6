"""Writing to MLflow: nested runs, nothing written twice, no run left RUNNING."""

import errno
import json
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from simulation import TINY

from jointnet.errors import SettingsError
from jointnet.settings import with_values
from jointnet.train.objective import OBJECTIVE
from study.search.outcome import trial_name
from study.store_names import EARLY, EXPERIMENT, INTERRUPTED, TIME_BUDGET
from study.tracking.outbox import Outbox
from study.tracking.presentation import LoggedData, TrialView
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.ledger import Ledger
from study.trials.progress import ArmProgress, StudyProgress
from study.trials.recorder import ArmRecorder
from study.trials.trial import ArmTask
from study.trials.work import Drawn

TAGS = {"arm": "joint-2", "model": "joint", "split": "2/1/1"}
SAMPLE = {"lambda_2_to_1": 2.0, "lambda_3_to_1": 1.0, "alpha": 0.25}


class Studied:
    """A driver of the study `name`: ledger, tracker, outbox and the recorder of one arm."""

    def __init__(self, uri: str, name: str, folder: Path, epochs: int = 2) -> None:
        settings = with_values(TINY, {"model.name": "joint", "training.epochs": epochs})
        self.ledger = Ledger(folder / name)
        self.tracker = StudyTracker(uri, name, {"seed": "0", "git.commit": "abc"})
        self.said: list[str] = []
        self.outbox = Outbox(self.said.append, is_permanent)
        task = ArmTask("joint-2", settings, (), (), 0, "cpu", 1, folder / name / "joint-2")
        progress = StudyProgress({"joint-2": ArmProgress("joint-2", 4, 4, 60)}, 0)
        self.recorder = ArmRecorder(task, TAGS, self.ledger, self.tracker, self.outbox, progress)

    def start(self, number: int, sample: dict | None = None) -> str:
        trial_id = self.recorder.drawn(number, Drawn(trial_name(number), sample or {"alpha": 0.5}))
        self.recorder.started(trial_id)
        return trial_id

    def close(self, seconds: float = 60) -> int:
        left = self.outbox.close(seconds)
        self.ledger.__exit__(None, None, None)
        return left


def _runs(uri: str, study: str) -> dict:
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == EXPERIMENT]
    found = client.search_runs([experiment.experiment_id], f"tags.`study.id` = '{study}'")
    names = [run.data.tags.get("trial.id") or run.data.tags["study.kind"] for run in found]
    assert len(set(names)) == len(names), "no run twice"
    return dict(zip(names, found, strict=True))


def _history(uri: str, run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, name)]


def test_trials_are_in_their_arm_and_tell_how_they_ended(uri: str, tmp_path: Path):
    driver = Studied(uri, "s1", tmp_path)
    recorder = driver.recorder
    driver.tracker.study_run()
    first = driver.start(1, SAMPLE)
    recorder.reported(first, 1, {"train/loss": 3.0, OBJECTIVE: 0.9}, False, "10.0.0.1")
    recorder.reported(first, 2, {"train/loss": 2.0, OBJECTIVE: float("inf")}, False, "10.0.0.2")
    recorder.ended(first, "complete", "")
    recorder.ended(driver.start(2), "failed", "TrainingDivergedError: NaN")
    third = driver.start(3)
    recorder.reported(third, 1, {"train/loss": 1.0}, True, "10.0.0.1")
    recorder.ended(third, "stopped", EARLY)
    recorder.ended(driver.start(4), "stopped", TIME_BUDGET)
    recorder.paused(driver.start(5))
    driver.start(6)
    assert driver.close() == 0 and driver.said == []
    runs = _runs(uri, "s1")
    arm, trial = runs["arm"], runs["t0001"]
    assert arm.data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert {run.data.tags["study.id"] for run in runs.values()} == {"s1"}
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name.startswith("t0")} == {
        arm.info.run_id
    }
    params = trial.data.params
    assert [float(params[f"lambda_{k}"]) for k in (1, 2, 3)] == pytest.approx([0.25, 0.5, 0.25])
    assert (params["alpha"], params["lambda_2_to_1"], params["model"]) == ("0.25", "2.0", "joint")
    assert _history(uri, trial, "train/loss") == [(1, 3.0), (2, 2.0)]
    assert trial.data.metrics[OBJECTIVE] == 0.9  # the infinite value is left out
    assert {run.data.tags["git.commit"] for run in runs.values()} == {"abc"}
    assert [runs[name].data.tags.get("trial.node") for name in ("t0001", "t0002", "t0003")] == [
        "10.0.0.2",
        None,
        "10.0.0.1",
    ]
    assert [item.path for item in MlflowClient(uri).list_artifacts(trial.info.run_id)] == ["settings.json"]
    states = {name: (run.info.status, run.data.tags.get("trial.state")) for name, run in runs.items()}
    assert {name: states[name] for name in states if name.startswith("t0")} == {
        "t0001": ("FINISHED", "complete"),
        "t0002": ("FAILED", "failed"),
        "t0003": ("FINISHED", "stopped"),
        "t0004": ("KILLED", "stopped"),  # without a model
        "t0005": ("KILLED", "interrupted"),
        "t0006": ("RUNNING", "running"),
    }
    assert [runs[name].info.run_name for name in ("t0001", "t0005")] == ["joint-2 t0001, s1", "joint-2 t0005, s1"]
    assert (runs["study"].info.run_name, arm.info.run_name) == ("study s1", "joint-2, s1")
    notes = {name: run.data.tags.get("mlflow.note.content", "") for name, run in runs.items()}
    assert "Best val/registration_ratio 0.9000 in epoch 1 of 2. Ended: complete." in notes["t0001"]
    assert notes["t0002"].endswith("alpha 0.5. No validation. Ended: failed: TrainingDivergedError: NaN.")
    assert notes["t0003"].endswith("Ended: stopped early.")
    assert notes["t0004"].endswith("Ended: stopped by the time budget.")
    reasons = [runs[name].data.tags["trial.reason"] for name in ("t0002", "t0003", "t0004", "t0005")]
    assert reasons == ["TrainingDivergedError: NaN", EARLY, TIME_BUDGET, INTERRUPTED]


def test_a_later_driver_tells_what_its_killed_predecessor_could_not(uri: str, tmp_path: Path, monkeypatch):
    """The first driver is killed with entries in its outbox. The second finds its runs and repeats no row."""
    first = Studied(uri, "s2", tmp_path)
    done = first.start(1)
    first.recorder.reported(done, 1, {"train/loss": 3.0, OBJECTIVE: 0.9}, False, "10.0.0.1")
    open_one = first.start(2)
    assert first.outbox.flush(60) == 0
    before = {name: run.info.run_id for name, run in _runs(uri, "s2").items()}
    monkeypatch.setattr(first.outbox, "put", lambda deed: None)  # no deliveries from here on
    first.recorder.reported(done, 2, {"train/loss": 2.0, OBJECTIVE: 0.8}, False, "10.0.0.1")
    first.recorder.ended(done, "complete", "")
    first.recorder.reported(open_one, 1, {"train/loss": 5.0, OBJECTIVE: 0.7}, False, "10.0.0.1")
    first.close()
    for _ in range(2):  # catching up a second time changes nothing
        later = Studied(uri, "s2", tmp_path)
        later.recorder.catch_up()
        assert later.close() == 0 and later.said == []
        runs = _runs(uri, "s2")
        assert {name: run.info.run_id for name, run in runs.items()} == before
        assert _history(uri, runs["t0001"], "train/loss") == [(1, 3.0), (2, 2.0)]
        assert _history(uri, runs["t0002"], OBJECTIVE) == [(1, 0.7)]
        assert (runs["t0001"].info.status, runs["t0001"].data.tags["trial.state"]) == ("FINISHED", "complete")
        assert (runs["t0002"].info.status, runs["t0002"].data.tags["trial.state"]) == ("KILLED", "interrupted")


def test_a_trial_that_goes_on_keeps_its_run(uri: str, tmp_path: Path):
    first = Studied(uri, "s3", tmp_path)
    first.recorder.ended(first.start(1), "stopped", TIME_BUDGET)
    assert first.close() == 0
    run_id = _runs(uri, "s3")["t0001"].info.run_id
    later = Studied(uri, "s3", tmp_path)
    later.recorder.catch_up()
    later.recorder.started("t0001")
    assert later.outbox.flush(60) == 0
    run = _runs(uri, "s3")["t0001"]
    assert (run.info.run_id, run.info.status) == (run_id, "RUNNING")
    assert run.data.tags["trial.state"] == "running"
    later.close()


def test_a_trial_that_ended_has_the_validation_metrics_of_its_best_epoch(uri: str, tmp_path: Path):
    driver = Studied(uri, "s7", tmp_path, epochs=4)
    trial = driver.start(1)
    for epoch, (objective, dice) in enumerate([(0.9, 0.5), (0.7, 0.6), (0.8, 0.99)], start=1):
        driver.recorder.reported(
            trial, epoch, {"train/loss": 1.0, OBJECTIVE: objective, "val/dice/lv": dice}, False, ""
        )
    driver.recorder.ended(trial, "stopped", TIME_BUDGET)
    driver.recorder.started(trial)  # it continues and improves
    driver.recorder.reported(trial, 4, {OBJECTIVE: 0.6, "val/dice/lv": 0.7}, False, "")
    driver.recorder.ended(trial, "complete", "")
    without = driver.start(2)
    driver.recorder.reported(without, 1, {"train/loss": 1.0}, True, "")
    driver.recorder.ended(without, "stopped", EARLY)
    assert driver.close() == 0
    runs = _runs(uri, "s7")
    best = {name: value for name, value in runs[trial].data.metrics.items() if name.startswith("val_best/")}
    assert best == {"val_best/registration_ratio": 0.6, "val_best/dice/lv": 0.7}
    assert _history(uri, runs[trial], "val_best/dice/lv") == [(2, 0.6), (4, 0.7)]
    assert not any(name.startswith("val_best/") for name in runs[without].data.metrics)


def test_a_trial_that_the_time_budget_stopped_with_a_model_is_no_failure(uri: str, tmp_path: Path, monkeypatch):
    driver = Studied(uri, "s-budget", tmp_path)
    trial = driver.start(1)
    driver.recorder.reported(trial, 1, {OBJECTIVE: 0.9}, False, "")
    model = tmp_path / "s-budget" / "model.pt"
    model.write_bytes(b"model")
    monkeypatch.setattr("study.trials.recorder.freeze_model", lambda folder, epoch: model)
    driver.recorder.ended(trial, "stopped", TIME_BUDGET)
    assert driver.close() == 0 and driver.outbox.refusals == []
    run = _runs(uri, "s-budget")[trial]
    assert run.info.status == "FINISHED"
    assert (run.data.tags["trial.state"], run.data.tags["trial.reason"]) == ("stopped", TIME_BUDGET)


def test_one_trial_of_an_arm_is_its_winner(uri: str, tmp_path: Path):
    driver = Studied(uri, "s-winner", tmp_path)
    for number in (1, 2):
        driver.recorder.ended(driver.start(number), "complete", "")
    assert driver.outbox.flush(60) == 0
    for winner in ("t0001", "t0002", "t0002"):
        run_id = driver.tracker.find_trial_run(winner, TAGS)
        assert run_id is not None
        driver.tracker.mark_trials([run_id], TAGS, "winner", "joint-2")
        tagged = {name for name, run in _runs(uri, "s-winner").items() if run.data.tags.get("winner") == "joint-2"}
        assert tagged == {winner}
    for front in (["t0001"], ["t0001", "t0002"], ["t0002"]):
        driver.tracker.mark_trials(
            [driver.tracker.find_trial_run(name, TAGS) or "" for name in front], TAGS, "pareto", "front"
        )
        assert {name for name, run in _runs(uri, "s-winner").items() if "pareto" in run.data.tags} == {*front}
    driver.close()


def test_the_ui_opens_as_training_on_the_trials_and_names_the_data(uri: str):
    """Keys and values are those that the UI of MLflow reads: its source was the reference."""
    data = LoggedData("phantom, 8 patients", "phantom", "0123456789" * 5)
    for _ in range(2):  # a later driver changes nothing
        tracker = StudyTracker(uri, "s-view", {}, "smoke 1", data)
        tracker.share_view(TrialView(OBJECTIVE, True, ("lambda_1", "alpha"), ("val/dice/lv",)))
        tracker.arm_run(TAGS)
    client, runs = MlflowClient(uri), _runs(uri, "s-view")
    experiment = client.get_experiment(runs["study"].info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    state = json.loads(experiment.tags["mlflow.sharedViewState.s-view"])
    assert state["orderByKey"] == state["selectedColumns"][0] == "metrics.`val_best/registration_ratio`"
    assert state["selectedColumns"][1] == "metrics.`val_best/dice/lv`" and "tags.`pareto`" in state["selectedColumns"]
    assert state["orderByAsc"] is True and "params.`alpha`" in state["selectedColumns"]
    found = client.search_runs(
        [experiment.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} ASC"]
    )
    assert found == []  # the server understands filter and order; there is no trial yet
    assert runs["study"].data.tags["ui.view"] == "s-view" and runs["study"].info.run_name == "study smoke 1"
    logged = {name: run.inputs.dataset_inputs for name, run in runs.items()}
    contexts = {name: [tag.value for each in inputs for tag in each.tags] for name, inputs in logged.items()}
    assert contexts == {"study": ["all splits"], "arm": ["train 2, validation 1, test 1"]}
    assert {(each.dataset.name, each.dataset.digest) for inputs in logged.values() for each in inputs} == {
        ("phantom, 8 patients", ("0123456789" * 5)[:36])
    }


def test_what_is_settled_is_not_told_again(uri: str, tmp_path: Path, monkeypatch):
    first = Studied(uri, "s4", tmp_path)
    first.recorder.ended(first.start(1), "failed", "ValueError: x")
    assert first.close() == 0
    later = Studied(uri, "s4", tmp_path)
    monkeypatch.setattr(later.tracker, "set_status", lambda *a: pytest.fail("told again"))
    monkeypatch.setattr(later.tracker, "log_rows", lambda *a: pytest.fail("told again"))
    later.recorder.catch_up()
    assert later.close() == 0 and later.said == []


def test_a_store_that_is_away_for_a_while_gets_everything_in_order(uri: str, tmp_path: Path, monkeypatch):
    driver = Studied(uri, "s5", tmp_path)
    real, calls = driver.tracker._open_store, []

    def away():
        calls.append(1)
        if len(calls) < 4:
            raise MlflowException("connection refused")
        return real()

    monkeypatch.setattr("study.tracking.outbox.FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(driver.tracker, "_open_store", away)
    trial = driver.start(1)
    for epoch in (1, 2):
        driver.recorder.reported(trial, epoch, {"train/loss": float(epoch)}, False, "10.0.0.1")
    driver.recorder.ended(trial, "complete", "")
    assert driver.close() == 0
    run = _runs(uri, "s5")["t0001"]
    assert _history(uri, run, "train/loss") == [(1, 1.0), (2, 2.0)] and run.info.status == "FINISHED"
    assert sum("cannot be written" in line for line in driver.said) == 1


def test_a_run_that_a_slow_server_made_twice_is_removed(uri: str, tmp_path: Path):
    tracker = StudyTracker(uri, "s6", {})
    run = tracker.arm_run({"arm": "a"})
    client, experiment = tracker._open_store()
    client.create_run(experiment, tags={"study.id": "s6", "study.kind": "arm", "arm": "a"})
    tracker.delete_duplicates()
    runs = _runs(uri, "s6")
    assert set(runs) == {"study", "arm"} and runs["arm"].info.run_id == run
    assert StudyTracker(uri, "s6", {}).arm_run({"arm": "a"}) == run


def test_a_new_study_does_not_ask_for_the_runs_of_trials_that_it_draws(uri: str, tmp_path: Path, monkeypatch):
    driver = Studied(uri, "s8", tmp_path)
    driver.tracker.study_run()
    driver.tracker.arm_run(TAGS)
    monkeypatch.setattr(driver.tracker._client, "search_runs", lambda *a, **k: pytest.fail("asked"))
    driver.recorder.ended(driver.start(1), "complete", "")
    assert driver.close() == 0 and driver.said == []
    assert _runs(uri, "s8")["t0001"].info.status == "FINISHED"


def test_a_run_whose_making_was_not_answered_is_not_made_again(uri: str, tmp_path: Path, monkeypatch):
    driver = Studied(uri, "s9", tmp_path)
    driver.tracker.study_run()
    driver.tracker.arm_run(TAGS)
    create = driver.tracker._client.create_run

    def without_answer(*arguments, **options):
        create(*arguments, **options)
        monkeypatch.setattr(driver.tracker._client, "create_run", create)
        raise MlflowException("timeout")

    monkeypatch.setattr("study.tracking.outbox.FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(driver.tracker._client, "create_run", without_answer)
    driver.start(1)
    assert driver.close() == 0
    assert sum("timeout" in line for line in driver.said) == 1
    assert _runs(uri, "s9")["t0001"].data.tags["trial.state"] == "running"


def test_a_study_that_lost_its_ledger_finds_the_runs_of_its_trials(uri: str, tmp_path: Path):
    for folder in (tmp_path / "first", tmp_path / "second"):
        driver = Studied(uri, "s10", folder)
        driver.tracker.study_run()
        driver.start(1)
        assert driver.close() == 0
    assert set(_runs(uri, "s10")) == {"study", "arm", "t0001"}


def test_rows_without_a_finite_value_and_many_rows(uri: str):
    tracker = StudyTracker(uri, "s7", {})
    run = tracker.study_run()
    tracker.log_rows(run, [(1, 5, {"a": float("nan"), "b": float("inf")})])
    rows = [(epoch, 1000 + epoch, {"a": float(epoch), "b": 0.0}) for epoch in range(1, 601)]
    for _ in range(2):
        tracker.log_rows(run, rows)
    found = MlflowClient(uri).get_metric_history(run, "a")
    assert sorted(point.step for point in found) == list(range(1, 601))


@pytest.mark.parametrize(
    ("error", "last_word"),
    [
        (MlflowException.invalid_parameter_value("x"), True),
        (MlflowException("connection refused"), False),
        (KeyError("an error of ours"), True),
        (ConnectionError("away"), False),
        (OSError("x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_a_store_that_answers_refuses(error, last_word):
    assert is_permanent(error) is last_word


def test_a_store_that_does_not_open_is_an_error_of_the_settings(tmp_path: Path):
    (tmp_path / "store.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(SettingsError, match="must be a store that opens, got 'sqlite:///"):
        StudyTracker(f"sqlite:///{tmp_path}/store.db", "s8", {}).connect()


def test_epochs_that_waited_for_the_store_are_told_in_one_call_and_each_once(uri: str, tmp_path: Path, monkeypatch):
    driver = Studied(uri, "s-waited", tmp_path, epochs=6)
    calls: list[list[int]] = []
    log_rows = driver.tracker.log_rows

    def noted(run_id, rows, tags=None):
        calls.append([step for step, _, _ in rows])
        log_rows(run_id, rows, tags)

    monkeypatch.setattr(driver.tracker, "log_rows", noted)
    trial = driver.start(1)
    assert driver.outbox.flush(60) == 0
    away = threading.Event()
    driver.outbox.put(away.wait)
    for epoch in range(1, 6):
        driver.recorder.reported(trial, epoch, {"train/loss": 1 / epoch}, False, f"10.0.0.{1 + epoch // 4}")
    away.set()
    assert driver.outbox.flush(60) == 0
    driver.recorder.reported(trial, 6, {"train/loss": 1 / 6}, False, "10.0.0.2")
    assert driver.close() == 0 and driver.said == []
    assert [steps for steps in calls if steps] == [[1, 2, 3, 4, 5], [6]]
    run = _runs(uri, "s-waited")["t0001"]
    assert _history(uri, run, "train/loss") == [(epoch, 1 / epoch) for epoch in range(1, 7)]
    assert run.data.tags["trial.node"] == "10.0.0.2"


def test_a_run_that_was_deleted_is_restored_with_what_it_was_told(uri: str, tmp_path: Path):
    first = Studied(uri, "s-deleted", tmp_path)
    trial = first.start(1)
    first.recorder.reported(trial, 1, {"train/loss": 3.0}, False, "")
    first.recorder.ended(trial, "complete", "")
    assert first.close() == 0
    before = _runs(uri, "s-deleted")
    for run in before.values():
        MlflowClient(uri).delete_run(run.info.run_id)
    later = Studied(uri, "s-deleted", tmp_path)
    later.recorder.catch_up()
    assert later.close() == 0 and later.said == []
    after = _runs(uri, "s-deleted")
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    assert after["t0001"].data.metrics == before["t0001"].data.metrics


def test_a_trial_whose_arm_got_another_run_is_brought_beneath_it(uri: str, tmp_path: Path):
    first = Studied(uri, "s-moved", tmp_path)
    first.recorder.ended(first.start(1), "complete", "")
    assert first.close() == 0
    MlflowClient(uri).set_tag(_runs(uri, "s-moved")["arm"].info.run_id, "study.id", "another")  # as if deleted
    later = Studied(uri, "s-moved", tmp_path)
    later.recorder.catch_up()
    assert later.close() == 0
    runs = _runs(uri, "s-moved")
    assert runs["t0001"].data.tags["mlflow.parentRunId"] == runs["arm"].info.run_id


@pytest.mark.parametrize("call", ["log_json", "log_rows"])
def test_what_the_store_refused_of_a_trial_is_told_before_its_end(uri: str, tmp_path: Path, monkeypatch, call: str):
    """A trial whose run has the tags of its end is not written again, so the rest must be complete."""
    driver = Studied(uri, f"s-refused-{call}", tmp_path)
    real, refusals = getattr(driver.tracker, call), []

    def refusing(*arguments):
        if not refusals:
            refusals.append(1)
            raise MlflowException.invalid_parameter_value("not now")
        real(*arguments)

    trial = driver.start(1)
    if call == "log_rows":
        assert driver.outbox.flush(60) == 0
    monkeypatch.setattr(driver.tracker, call, refusing)
    driver.recorder.reported(trial, 1, {"train/loss": 3.0}, False, "")
    assert driver.outbox.flush(60) == 0
    driver.recorder.ended(trial, "complete", "")
    assert driver.close() == 0 and len(driver.outbox.refusals) == 1
    run = _runs(uri, f"s-refused-{call}")["t0001"]
    assert _history(uri, run, "train/loss") == [(1, 3.0)] and run.data.tags["trial.state"] == "complete"
    assert [item.path for item in MlflowClient(uri).list_artifacts(run.info.run_id)] == ["settings.json"]


def test_told_again_a_trial_has_the_moments_of_the_ledger(uri: str, tmp_path: Path):
    first = Studied(uri, "s-moments", tmp_path)
    trial = first.start(1)
    first.recorder.reported(trial, 1, {"train/loss": 3.0}, False, "")
    first.recorder.ended(trial, "complete", "")
    assert first.close() == 0
    path = tmp_path / "s-moments" / "ledger.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**e, "at_ms": 1000 * n}) + "\n" for n, e in enumerate(events, 1)))
    (tmp_path / "again").mkdir()
    path.parent.rename(tmp_path / "again" / "s-moments-2")
    later = Studied(uri, "s-moments-2", tmp_path / "again")
    later.recorder.catch_up()
    assert later.close() == 0
    info = _runs(uri, "s-moments-2")["t0001"].info
    assert (info.start_time, info.end_time) == (1000, 1000 * len(events))


def test_a_file_that_is_gone_is_refused_by_name_and_not_tried_for_ever(uri: str, tmp_path: Path):
    tracker, gone = StudyTracker(uri, "s-gone", {}), tmp_path / "model.pt"
    said: list[str] = []
    outbox = Outbox(said.append, is_permanent)
    outbox.put(lambda: tracker.log_file(tracker.study_run(), gone, "model"))
    assert outbox.close(20) == 0
    assert outbox.refusals == [f"{gone} is missing and the tracking store has no copy of it; restore it"]


def test_asynchronous_logging_is_not_left_to_the_environment(uri: str, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    tracker = StudyTracker(uri, "s-async", {})
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    run = tracker.study_run()
    tracker.log_rows(run, [(1, 5, {"a": 1.0})], {"b": "c"})
    told = MlflowClient(uri).get_run(run).data
    assert told.metrics == {"a": 1.0} and told.tags["b"] == "c"
    with pytest.raises(MlflowException):
        tracker.log_rows("0" * 32, [(1, 5, {"a": 1.0})])


def test_a_full_disk_is_no_error_of_the_stores_address(tmp_path: Path, monkeypatch):
    def full(file: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("study.tracking.open_store.ensure_sqlite_tables", full)
    with pytest.raises(OSError, match="No space left"):
        StudyTracker(f"sqlite:///{tmp_path}/store.db", "s9", {}).connect()


def test_a_continued_study_is_not_refused_for_a_store_that_is_away(tmp_path: Path):
    (tmp_path / "store.db").write_bytes(b"this is no database" * 100)
    StudyTracker(f"sqlite:///{tmp_path}/store.db", "s8", {}).connect(needed=False)
