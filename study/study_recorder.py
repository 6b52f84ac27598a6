"""What the tracking store is told of a study and its arms, by way of the outbox; each may be told again."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from study.ledger import Ledger
from study.outbox import Outbox
from study.plan import Arm, Plan, specification
from study.tracking import StudyTracker

TEST_FILES = ("slices.csv", "patients.csv", "overlays.npz")


class StudyRecorder:
    """Tells of one study."""

    def __init__(self, plan: Plan, ledger: Ledger, tracker: StudyTracker, outbox: Outbox) -> None:
        self._plan, self._ledger, self._tracker, self._outbox = plan, ledger, tracker, outbox

    def begin(self) -> None:
        """The study and its arms run."""
        self._outbox.put(self._tell_study)
        for arm in self._plan.arms:
            self._outbox.put(partial(self._tell_arm, arm))

    def selected(self, arm: Arm) -> None:
        """The ledger has the selection of an arm."""
        self._outbox.put(partial(self._tell_selection, arm))

    def tested(self, arm: Arm) -> None:
        """The ledger and the arm's folder have its test rows."""
        self._outbox.put(partial(self._tell_test, arm))

    def end(self, status: str, without_result: tuple[str, ...] = ()) -> None:
        """Nothing runs any more; arms without a result have FAILED."""
        for arm in self._plan.arms:
            own = "FAILED" if arm.name in without_result else status
            self._outbox.put(partial(self._tell_status, partial(self._arm_run, arm), own))
        self._outbox.put(partial(self._tell_status, self._tracker.study_run, status))
        self._outbox.put(self._tracker.remove_doubles)

    def _arm_run(self, arm: Arm) -> str:
        return self._tracker.arm_run(arm.name, arm_tags(arm))

    def _tell_status(self, run: Callable[[], str], status: str) -> None:
        self._tracker.set_status(run(), status)

    def _tell_study(self) -> None:
        plan, run = self._plan, self._tracker.study_run()
        self._tracker.set_status(run, "RUNNING")
        questions = " ".join(space.question for space in plan.spaces)
        data = "The built-in phantom, no real scans." if plan.data.kind == "phantom" else "A folder of scans."
        arms = ", ".join(arm.name for arm in plan.arms)
        self._tracker.describe(
            run, f"{questions} {data} Arms: {arms}. Report: `python -m study.report --study {plan.study_id}`."
        )
        self._tracker.tag(run, {f"split.sha256.{counts}": split.sha256 for counts, split in plan.splits.items()})
        self._tracker.log_json(run, "specification.json", specification(plan))
        content = {counts: {**split.as_dict(), "sha256": split.sha256} for counts, split in plan.splits.items()}
        self._tracker.log_json(run, "splits.json", content)

    def _tell_arm(self, arm: Arm) -> None:
        run, counts, space = self._arm_run(arm), arm.split.counts, arm.space
        self._tracker.set_status(run, "RUNNING")
        searched = ", ".join(parameter.name for parameter in space.parameters_of(arm.model))
        self._tracker.describe(
            run,
            f"{arm.model} model: {counts.train} patients to train, {counts.validation} to validate, {counts.test} "
            f"sealed. {space.budget.num_samples} trials over {searched}; {space.objective.metric} ranks them (1 is no "
            "better than doing nothing). The test values are those of the selected trial.",
        )

    def _tell_selection(self, arm: Arm) -> None:
        record = self._last("selected", arm)["selection"]
        run = self._arm_run(arm)
        trial_run = self._tracker.known_trial(arm.name, record["trial_id"]) or ""
        self._tracker.log_json(run, "selection.json", {**record, "run_id": trial_run})
        self._tracker.tag(
            run,
            {
                "selected.trial.id": record["trial_id"],
                "selected.run.id": trial_run,
                "selection.objective": str(record["objective"]),
            },
        )

    def _tell_test(self, arm: Arm) -> None:
        tested, run = self._last("tested", arm), self._arm_run(arm)
        openings = [event for event in self._ledger.events if event["event"] == "opened" and event["arm"] == arm.name]
        folder = self._plan.arm_folder(arm) / "test"
        for name in TEST_FILES:
            self._tracker.log_file(run, folder / name, "test")
        self._tracker.log_rows(run, [(len(openings) - 1, tested["at_ms"], tested["metrics"])])
        self._tracker.tag(
            run,
            {
                "test.fingerprint": tested["fingerprint"],
                "test.openings": str(len(openings)),
                "test.opening.reasons": "; ".join(event["reason"] for event in openings),
            },
        )

    def _last(self, kind: str, arm: Arm) -> Mapping[str, Any]:
        return self._ledger.last(kind, arm.name) or {}


def arm_tags(arm: Arm) -> dict[str, str]:
    """Give the tags of an arm's run and of its trials."""
    return {"arm": arm.name, "model": arm.model, "split": str(arm.split.counts), "split.sha256": arm.split.sha256}
