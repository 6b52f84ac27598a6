"""Runs the searches of a study's arms one after the other, within their trials and time."""

from collections.abc import Mapping

from jointnet.data.cache import CachedPatient
from study.plan.plan import Arm, Plan
from study.run.rounds import Rounds, check_halted
from study.run.session import Session
from study.selection.openings import search_is_over
from study.trials.ledger import Ledger
from study.trials.sampling import search_work, write_optuna_file
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask

OPTUNA_FILE = "optuna.db"


def search_all(session: Session, rounds: Rounds, patients: Mapping[int, CachedPatient]) -> None:
    """Search the arms whose search is not over.

    Args:
        session: session of the study.
        rounds: runs the trials.
        patients: the training and validation patients, by number.

    Raises:
        StudyHaltedError: the study was interrupted, or the disk is full.
    """
    plan, ledger, progress = session.plan, session.ledger, session.progress
    recorders = {arm.key: session.arm_recorder(arm, arm_task(plan, arm, patients)) for arm in plan.arms}
    for recorder in recorders.values():
        recorder.catch_up()
    for arm in plan.arms:
        if search_is_over(arm, ledger):
            continue
        rounds.ready()
        seconds = arm_seconds(plan, arm, ledger)
        recorder = recorders[arm.key]
        search = ArmSearch(search_work(plan, arm), recorder, plan.resources.concurrent)
        ledger.append("searching", arm=arm.key)
        session.recorder.runs(arm)
        progress.arm_started(arm.key, seconds, f"searching {arm.key}")
        search.end_finished()
        if search.work_left() and (seconds is None or seconds > 0):
            rounds.run(search, recorder.task, seconds)
        elif search.work_left():
            progress.note(f"{arm.key}: the minutes are used up; a larger --minutes goes on.")
        _export(session)
        check_halted(search)
        ledger.append("searched", arm=arm.key, **vars(arm.space.budget))
        progress.arm_ended(arm.key, "trials")
        session.recorder.rests(arm)


def arm_task(plan: Plan, arm: Arm, patients: Mapping[int, CachedPatient]) -> ArmTask:
    """Return the common input of an arm's trials. It has training and validation patients only."""
    return ArmTask(
        arm=arm.key,
        settings=arm.space.settings_of(arm.model),
        training=tuple(patients[number] for number in arm.split.train),
        validation=tuple(patients[number] for number in arm.split.validation),
        seed=plan.seed,
        device=plan.resources.device,
        threads=max(1, int(plan.resources.cpus_per_trial)),
        folder=plan.arm_folder(arm),
    )


def arm_seconds(plan: Plan, arm: Arm, ledger: Ledger) -> float | None:
    """Return the seconds left for the search of an arm, its share minus the seconds already searched; None: no limit.

    With `per_arm` the share is the budget's minutes. Otherwise it is what the earlier arms of the same search left,
    divided equally among this arm and the later ones. An arm that exceeded its share, to reach a first validation,
    counts with its share only.
    """
    budget = arm.space.budget
    if budget.minutes is None:
        return None
    share = left = budget.minutes * 60
    if not budget.per_arm:
        of_search = [other.key for other in plan.arms if other.space.name == arm.space.name]
        for before, key in enumerate(of_search):
            share = left / (len(of_search) - before)
            if key == arm.key:
                break
            left -= min(share, ledger.searched_seconds(key))
    return share - ledger.searched_seconds(arm.key)


def _export(session: Session) -> None:
    """Write all trials to a file for optuna-dashboard. The study does not read this file."""
    path = session.plan.folder / OPTUNA_FILE
    arms = {
        arm.key: (arm.space.parameters_of(arm.model), session.ledger.outcomes(arm.key).values())
        for arm in session.plan.arms
    }
    try:
        write_optuna_file(path, arms)
    except Exception as error:  # no error of this optional file may stop the study
        session.progress.note(f"WARNING: {path} could not be written: {' '.join(str(error).split())[:200]}")
