"""Retrains the winner of each arm and fold with new seeds, after its selection is recorded."""

from collections.abc import Mapping
from dataclasses import replace

from jointnet.data.cache import CachedPatient
from study.plan.plan import Arm, Plan
from study.run.rounds import Rounds, check_halted
from study.run.searching import arm_task
from study.run.session import Session
from study.selection.best_trial import Selection
from study.trials.recorder import ArmRecorder
from study.trials.sampling import retrain_prefix, retrain_work
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask

RETRAIN_FOLDER = "retrain"


def retrain_all(
    session: Session, rounds: Rounds, patients: Mapping[int, CachedPatient], selections: Mapping[str, Selection]
) -> None:
    """Retrain the winners with the requested seeds that are not done yet.

    Args:
        session: session of the study.
        rounds: runs the retrainings.
        patients: the training and validation patients, by number.
        selections: selections by the key of their arm, recorded in the ledger.

    Raises:
        StudyHaltedError: the study was interrupted, or the disk is full.
    """
    plan, progress = session.plan, session.progress
    for arm in plan.arms:
        for trial_id in _winners(session, arm):  # also of earlier selections, whose runs must not be shown as running
            if arm.key not in selections or trial_id != selections[arm.key].trial.trial_id:
                _recorder(session, arm, trial_id, patients).catch_up(counted=False)
    for arm in plan.arms:
        if arm.key not in selections or not plan.design.seeds:
            continue
        winner = selections[arm.key].trial
        recorder = _recorder(session, arm, winner.trial_id, patients)
        recorder.catch_up()
        search = ArmSearch(retrain_work(plan, arm, winner), recorder, plan.resources.concurrent)
        search.end_finished()
        if search.work_left():
            rounds.ready()
            session.recorder.runs(arm)
            progress.arm_started(recorder.row, None, f"retraining {winner.trial_id} of {arm.key}")
            rounds.run(search, recorder.task, None)
            check_halted(search)
            session.recorder.rests(arm)
            progress.arm_ended(recorder.row, "retrainings")


def retrain_task(plan: Plan, arm: Arm, winner: str, patients: Mapping[int, CachedPatient]) -> ArmTask:
    """Return the common input of a winner's retrainings: that of its search, with another key and folder."""
    return replace(
        arm_task(plan, arm, patients),
        arm=f"{retrain_prefix(arm)}{winner}",
        folder=plan.arm_folder(arm) / RETRAIN_FOLDER,
    )


def _recorder(session: Session, arm: Arm, winner: str, patients: Mapping[int, CachedPatient]) -> ArmRecorder:
    return session.arm_recorder(arm, retrain_task(session.plan, arm, winner, patients), retrains=winner)


def _winners(session: Session, arm: Arm) -> list[str]:
    """Return the ids of all trials of an arm that have retrainings in the ledger."""
    prefix = retrain_prefix(arm)
    return [key.removeprefix(prefix) for key in session.ledger.groups() if key.startswith(prefix)]
