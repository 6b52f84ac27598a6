"""The objects that one driver uses while it runs a study."""

from dataclasses import dataclass

from study.plan.plan import Arm, Plan
from study.run.interruption import StudyHaltedError
from study.run.study_recorder import StudyRecorder, arm_tags
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker
from study.trials.ledger import Ledger
from study.trials.progress import StudyProgress
from study.trials.recorder import ArmRecorder
from study.trials.trial import ArmTask

SECONDS_TO_DELIVER = 120.0
"""Longest wait for an unavailable tracking store, before the test patients are opened and at the end."""


@dataclass(frozen=True)
class Session:
    """The run of a study by one driver.

    Attributes:
        plan: the plan of the study.
        ledger: the events so far, of this driver and earlier ones.
        tracker: writes to the tracking store; called through the outbox only.
        outbox: queue of writes to the tracking store.
        recorder: writes the study and its arms to the tracking store.
        progress: shows the progress in the terminal.
    """

    plan: Plan
    ledger: Ledger
    tracker: StudyTracker
    outbox: Outbox
    recorder: StudyRecorder
    progress: StudyProgress

    def halted_by_store(self, consequence: str = "") -> StudyHaltedError:
        """Return what halts a study whose deliveries wait; its cause is what the tracking store failed with."""
        trouble = self.outbox.trouble
        told = "" if trouble is None else f" ({' '.join(str(trouble).split())[:200]})"
        halted = StudyHaltedError(f"the tracking store is away{told}{consequence}", by_user=False)
        halted.__cause__ = trouble
        return halted

    def arm_recorder(self, arm: Arm, task: ArmTask, retrains: str = "") -> ArmRecorder:
        """Create the recorder of an arm's trials, or of the retrainings of the trial `retrains`."""
        row = retrain_row(arm) if retrains else arm.key
        return ArmRecorder(
            task, arm_tags(arm), self.ledger, self.tracker, self.outbox, self.progress, row=row, retrains=retrains
        )


def retrain_row(arm: Arm) -> str:
    """Return the name of the progress row of an arm's retrainings."""
    return f"{arm.key} seeds"
