"""Whether a tracking store holds what a ledger says, so that nothing of a finished study is written again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from plans import plan_of
from simulation import recorder_of, space

from jointnet.train.objective import OBJECTIVE
from study.plan.plan import given
from study.run.study_recorder import (
    BASELINE_FILES,
    TEST_FILES,
    StudyRecorder,
    arm_tags,
    is_complete_in_store,
    result_text,
)
from study.selection.baselines import baselines_of
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.ledger import Ledger
from study.trials.recorder import ArmRecorder


def test_a_store_holds_a_study_with_a_trial_that_never_ended_and_lacks_it_without_a_file_of_the_report(
    empty_store: str, tmp_path: Path
):
    plan = plan_of(out=tmp_path / "runs")
    plan = replace(plan, arms=plan.arms[:1])
    (arm,) = plan.arms
    with Ledger(plan.folder) as ledger:
        recorder = recorder_of(ledger, space())
        task = replace(recorder.task, arm=arm.key, settings=arm.settings)
        ledger.append("session", fingerprint="f", commit="c")
        for number in (1, 2):  # the minutes were over before the second could go on
            sample = {each.name: each.domain.low for each in arm.parameters}
            ledger.append("drawn", arm=arm.key, trial=f"t000{number}", number=number, sample=sample)
            ledger.append(
                "epoch", arm=arm.key, trial=f"t000{number}", epoch=1, metrics={OBJECTIVE: 0.5}, pruned=False, node=""
            )
        ledger.append("ended", arm=arm.key, trial="t0001", state="complete", reason="", model=None)
        ledger.append("selected", arm=arm.key, selection={"trial_id": "t0001", "objective": 0.5, "front": ["t0001"]})
        ledger.append("opened", arm=arm.key, trial="t0001", reason="first", models=[["t0001", 1]])
        ledger.append("tested", arm=arm.key, trial="t0001", metrics={}, fingerprint="t", models=[["t0001", 1]])
        baseline = baselines_of(plan)[-1]
        ledger.append("baseline", arm=baseline.key, metrics={"test/lost": 0.0}, fingerprint="t")
        (plan.folder / baseline.key).mkdir(parents=True)
        for name in BASELINE_FILES:
            (plan.folder / baseline.key / name).touch()
        (plan.arm_folder(arm) / "test").mkdir(parents=True)
        for name in TEST_FILES:
            (plan.arm_folder(arm) / "test" / name).touch()

        tracker = StudyTracker(empty_store, plan.study_id, {})
        assert not is_complete_in_store(plan, ledger, tracker)
        said: list[str] = []
        outbox = Outbox(said.append, is_permanent)
        of_study = StudyRecorder(plan, ledger, tracker, outbox)
        of_study.begin()
        progress = recorder._progress
        ArmRecorder(task, arm_tags(arm), ledger, tracker, outbox, progress).catch_up(counted=False)
        of_study.selected(arm)
        of_study.tested(arm)
        of_study.baseline(baseline)
        of_study.end("FINISHED")
        assert (outbox.close(60), said, outbox.left_out) == (0, [], [])
        assert is_complete_in_store(plan, ledger, tracker)

        counts = dict.fromkeys(("specification.json", "splits.json", "selection.json"), 1)
        counts |= {f"test/{name}": 2 if name in BASELINE_FILES else 1 for name in TEST_FILES}
        for name, count in counts.items():
            paths = list((tmp_path / "mlruns/artifacts").glob(f"*/artifacts/{name}"))
            assert len(paths) == count
            for path in paths:
                path.rename(path.with_name("away"))
                assert not is_complete_in_store(plan, ledger, tracker), name
                path.with_name("away").rename(path)
        client = MlflowClient(empty_store)
        (run,) = client.search_runs(["1"], "tags.`study.kind` = 'arm'")
        assert run.data.params == given(plan.data, arm) and run.data.tags["method"] == arm.method
        trials = {r.data.tags["trial.id"]: r for r in client.search_runs(["1"], "tags.`study.kind` = 'trial'")}
        view = json.loads(client.get_experiment("1").tags[f"mlflow.sharedViewState.{plan.study_id}"])
        columns = {name.split("`")[1] for name in view["selectedColumns"] if name.startswith("params.")}
        assert {"lambda_1", "alpha"} <= columns <= set(trials["t0001"].data.params)
        assert run.data.tags["winner"] == "t0001: the settings of its arm"  # this selection has no parameters
        assert run.data.tags["mlflow.note.content"].startswith("Winner t0001: ")
        assert [trial.data.tags.get("winner") for trial in trials.values()].count(arm.name) == 1
        assert {name: trial.data.tags.get("pareto") for name, trial in trials.items()} == {
            "t0001": "front",
            "t0002": None,
        }
        for run in client.search_runs(["1"]):
            client.delete_run(run.info.run_id)
            assert not is_complete_in_store(plan, ledger, tracker), run.data.tags["study.kind"]
            client.restore_run(run.info.run_id)
        assert is_complete_in_store(plan, ledger, tracker)


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (
            {"test/before/cd_mm/lv": 2.513, "test/cd_mm/lv": 0.807, "test/registration_ratio": 0.46},
            "On 5 test patients: LV CD 2.51 to 0.81 mm, registration ratio 0.46 (1 means no improvement).",
        ),
        (
            {"test/before/cd_mm/lv": float("nan"), "test/cd_mm/lv": 0.807, "test/registration_ratio": 1.2},
            "On 5 test patients: registration ratio 1.20 (1 means no improvement).",
        ),
        ({"test/lost": 0.0}, "On 5 test patients: registration ratio undefined."),
    ],
)
def test_the_result_on_the_test_patients_leaves_out_what_the_labels_do_not_define(metrics: dict[str, float], text: str):
    assert result_text(metrics, 5) == text
