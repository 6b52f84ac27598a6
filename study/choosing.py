"""The choice of every arm, recorded, and then the one opening of its sealed test patients."""

from collections.abc import Mapping
from datetime import UTC, datetime

from jointnet.folder import PatientFiles, select
from study.interruption import StudyHaltedError
from study.opening import is_recorded, is_tested, reason_to_open, select_all
from study.sealed_test import open_test
from study.selection import NoFinishedTrialError, Selection
from study.session import SECONDS_TO_DELIVER, Session


def choose_all(session: Session) -> tuple[dict[str, Selection], list[str]]:
    """Select in every arm and record that.

    Returns:
        The selections by arm, and one line for each arm without a finished trial.

    Raises:
        NoFinishedTrialError: where no arm has a finished trial.
    """
    ledger = session.ledger
    selections, missing = select_all(session.plan, ledger, datetime.now(UTC))
    arms = {arm.name: arm for arm in session.plan.arms}
    for name, selection in selections.items():
        if not is_recorded(ledger, name, selection):
            ledger.append("selected", arm=name, selection=selection.as_dict())
        session.recorder.selected(arms[name])
        for remark in selection.remarks:
            session.progress.note(f"{name}: {remark}")
    if not selections:
        raise NoFinishedTrialError("\n".join(missing))
    return selections, missing


def open_all(session: Session, selections: Mapping[str, Selection], patients: Mapping[int, PatientFiles]) -> None:
    """Open the test patients of the arms whose selection is new.

    Args:
        session: of the study.
        selections: by arm, recorded in the ledger.
        patients: the files of all patients, by number.

    Raises:
        StudyHaltedError: where the tracking store does not have all selections; then the patients stay sealed.
    """
    plan, ledger, progress = session.plan, session.ledger, session.progress
    arms = {arm.name: arm for arm in plan.arms}
    due = {name: selection for name, selection in selections.items() if not is_tested(ledger, name, selection)}
    if due and session.outbox.flush(SECONDS_TO_DELIVER):
        raise StudyHaltedError(
            "the tracking store is away, and the test patients stay sealed until it has the selections", by_user=False
        )
    for name, selection in due.items():
        if reason := reason_to_open(ledger, name, selection):
            trial, times = selection.trial, ledger.count("opened", name) + 1
            ledger.append("opened", arm=name, trial=trial.trial_id, epoch=trial.best_epoch, reason=reason)
            if times > 1:
                progress.note(f"{name}: the test patients are opened again ({times} times by now): {reason}")
    if due:
        progress.phase("opening the sealed test patients")
        files = select(dict(patients), next(iter(plan.splits.values())).test)
        models = {plan.arm_folder(arms[name]) / "test": selection.model for name, selection in due.items()}
        tested = open_test(files, plan.cache, models, plan.resources.device)
        for name, selection in due.items():
            result, trial = tested[plan.arm_folder(arms[name]) / "test"], selection.trial
            content = {"metrics": result.metrics, "fingerprint": result.fingerprint}
            ledger.append("tested", arm=name, trial=trial.trial_id, epoch=trial.best_epoch, **content)
    for name in selections:
        session.recorder.tested(arms[name])
