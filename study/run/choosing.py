"""The selection of every arm, which is recorded, and then the one opening of its sealed test patients."""

from collections.abc import Mapping
from datetime import UTC, datetime

from jointnet.data.cache import CachedPatient
from jointnet.data.folder import PatientFiles, select
from study.plan.plan import Arm
from study.run.interruption import StudyHaltedError
from study.run.session import SECONDS_TO_DELIVER, Session
from study.selection.best_trial import NoFinishedTrialError, Selection
from study.selection.held_out import open_test, unseal
from study.selection.openings import is_recorded, is_tested, models_to_test, names_of, reason_to_open, select_all
from study.trials.outcome import TrialOutcome


def choose_all(session: Session) -> tuple[dict[str, Selection], list[str]]:
    """Select a trial in every arm and record the selections.

    Returns:
        The selections by the key of their arm, and one line for each arm without a finished trial.

    Raises:
        NoFinishedTrialError: no arm has a finished trial.
    """
    ledger = session.ledger
    selections, missing = select_all(session.plan, ledger, datetime.now(UTC))
    for arm in session.plan.arms:
        if arm.key in selections:
            selection = selections[arm.key]
            if not is_recorded(ledger, arm.key, selection):
                ledger.append("selected", arm=arm.key, selection=selection.as_dict())
            session.recorder.selected(arm)
            for remark in selection.remarks:
                session.progress.note(f"{arm.key}: {remark}")
    if not selections:
        raise NoFinishedTrialError("\n".join(missing))
    return selections, missing


def open_all(session: Session, selections: Mapping[str, Selection], patients: Mapping[int, PatientFiles]) -> list[str]:
    """Open the test patients of each arm whose models were not tested yet, and evaluate all its models.

    Args:
        session: session of the study.
        selections: selections by the key of their arm. They are recorded in the ledger, and retrained where seeds are
            requested.
        patients: the files of all patients, by number.

    Returns:
        One line for each arm without a model to test.

    Raises:
        StudyHaltedError: a selection is not in the tracking store, because the store is unavailable or rejected it. The
            patients then stay sealed.
    """
    plan, ledger = session.plan, session.ledger
    tested, due, missing = list[Arm](), dict[str, tuple[TrialOutcome, ...]](), list[str]()
    for arm in (arm for arm in plan.arms if arm.key in selections):
        try:
            models = models_to_test(plan, arm, ledger, selections[arm.key])
        except NoFinishedTrialError as error:
            missing.append(str(error))
            continue
        tested.append(arm)
        if not is_tested(ledger, arm.key, models):
            due[arm.key] = models
    if due and session.outbox.flush(SECONDS_TO_DELIVER):
        raise session.halted_by_store(", and the test patients stay sealed until it has the selections")
    if due and session.recorder.unrecorded:
        raise StudyHaltedError(
            f"the tracking store refused the selection of {' and '.join(session.recorder.unrecorded)}, and the test "
            f"patients stay sealed until it has the selections; it said: {session.outbox.refusals[0]}",
            by_user=False,
        )
    arms = [arm for arm in tested if arm.key in due]
    for arm in arms:
        _open(session, arm, selections[arm.key], due[arm.key])
    unsealed = dict[tuple[int, ...], list[CachedPatient]]()
    for arm in arms:
        session.progress.phase(f"testing {arm.key} on its sealed patients")
        numbers, models = arm.split.test, due[arm.key]
        if numbers not in unsealed:
            unsealed[numbers] = unseal(select(dict(patients), numbers), plan.cache)
        files = {model.number if plan.design.seeds else None: model.model for model in models}
        result = open_test(unsealed[numbers], files, plan.arm_folder(arm) / "test", plan.resources.device)
        content = {"metrics": result.metrics, "fingerprint": result.fingerprint, "models": names_of(models)}
        ledger.append("tested", arm=arm.key, trial=selections[arm.key].trial.trial_id, **content)
    for arm in tested:
        session.recorder.tested(arm)
    session.recorder.champions()
    return missing


def _open(session: Session, arm: Arm, selection: Selection, models: tuple[TrialOutcome, ...]) -> None:
    """Record an opening in the ledger, unless the test patients were opened for these models already."""
    ledger = session.ledger
    if reason := reason_to_open(ledger, arm.key, selection, models):
        times = ledger.count("opened", arm.key) + 1
        ledger.append("opened", arm=arm.key, trial=selection.trial.trial_id, reason=reason, models=names_of(models))
        if times > 1:
            session.progress.note(f"{arm.key}: the test patients are opened again ({times} times by now): {reason}")
