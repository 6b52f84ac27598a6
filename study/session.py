"""What one driver holds while it carries a study out."""

from dataclasses import dataclass

from study.ledger import Ledger
from study.outbox import Outbox
from study.plan import Plan
from study.progress import StudyProgress
from study.study_recorder import StudyRecorder
from study.tracking import StudyTracker

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
