"""What one driver holds while it carries a study out."""

from dataclasses import dataclass

from study.driver.study_recorder import StudyRecorder, arm_tags
from study.planning.plan import Arm, Plan
from study.search.progress import StudyProgress
from study.search.recorder import ArmRecorder
from study.tracking.outbox import Outbox
from study.tracking.tracker import StudyTracker
from study.trials.ledger import Ledger
from study.trials.trial import ArmTask

SECONDS_TO_DELIVER = 120.0
"""That a tracking store which is away is waited for, before the test patients are opened and at the end."""


@dataclass(frozen=True)
class Session:
    """One driver's turn at a study.

    Attributes:
        plan: what to do.
        ledger: what was done, by this driver and those before it.
        tracker: writes to the tracking store, by way of the outbox only.
        outbox: delivers to the tracking store.
        recorder: tells it of the study and its arms.
        progress: tells the terminal.
    """

    plan: Plan
    ledger: Ledger
    tracker: StudyTracker
    outbox: Outbox
    recorder: StudyRecorder
    progress: StudyProgress

    def arm_recorder(self, arm: Arm, task: ArmTask, retrains: str = "") -> ArmRecorder:
        """Give what records an arm's trials, or the retrainings of the trial that is named."""
        row = retrain_row(arm) if retrains else arm.key
        return ArmRecorder(
            task, arm_tags(arm), self.ledger, self.tracker, self.outbox, self.progress, row=row, retrains=retrains
        )


def retrain_row(arm: Arm) -> str:
    """Give the row of the progress that an arm's retrainings have."""
    return f"{arm.key} seeds"
