"""The searches of a study's arms, one after the other, as far as trials and time are left."""

from collections.abc import Mapping

from jointnet.cache import CachedPatient
from study.arm_search import ArmSearch
from study.cluster import ray_session
from study.interruption import StudyHaltedError, first_gently
from study.ledger import Ledger
from study.opening import search_is_over
from study.plan import Arm, Plan
from study.progress import StudyProgress
from study.recorder import ArmRecorder
from study.search import search_arm
from study.session import Session
from study.store_layout import INTERRUPTED
from study.study_recorder import arm_tags
from study.suggestion import export
from study.trial import ArmTask

OPTUNA_FILE = "optuna.db"


def search_all(session: Session, patients: Mapping[int, CachedPatient]) -> None:
    """Search the arms that are not over.

    Args:
        session: of the study.
        patients: the training and validation patients, by number.

    Raises:
        StudyHaltedError: where it was interrupted, or the disk is full.
    """
    plan, ledger, progress = session.plan, session.ledger, session.progress
    tasks = {arm.name: arm_task(plan, arm, patients) for arm in plan.arms}
    recorders = {
        arm.name: ArmRecorder(tasks[arm.name], arm_tags(arm), ledger, session.tracker, session.outbox, progress)
        for arm in plan.arms
    }
    for recorder in recorders.values():
        recorder.catch_up()
    open_arms = [arm for arm in plan.arms if not search_is_over(plan, ledger, arm.name)]
    if not open_arms:
        return
    progress.phase("starting Ray")
    with ray_session(plan.address):
        for arm in open_arms:
            seconds = arm_seconds(plan, arm, ledger)
            search = ArmSearch(arm.space, recorders[arm.name], plan.resources.concurrent)
            ledger.append("searching", arm=arm.name)
            progress.arm_started(arm.name, seconds)
            search.settle()
            if search.work_left() and (seconds is None or seconds > 0):
                with first_gently(lambda search=search: _stop_gently(search, progress)):  # type: ignore[misc]
                    search_arm(tasks[arm.name], search, plan.resources, plan.folder / "tune", seconds)
            elif search.work_left():
                progress.note(f"{arm.name}: the minutes are used up; a larger --minutes goes on.")
            _export(session)
            if search.halted:
                raise StudyHaltedError(search.halted, by_user=not search.faulty)
            budget = arm.space.budget
            ledger.append("searched", arm=arm.name, num_samples=budget.num_samples, minutes=budget.minutes)
            progress.arm_ended(arm.name)


def arm_task(plan: Plan, arm: Arm, patients: Mapping[int, CachedPatient]) -> ArmTask:
    """Give what the trials of an arm share: training and validation patients only."""
    return ArmTask(
        arm=arm.name,
        settings=arm.space.settings_of(arm.model),
        training=tuple(patients[number] for number in arm.split.train),
        validation=tuple(patients[number] for number in arm.split.validation),
        seed=plan.seed,
        device=plan.resources.device,
        threads=max(1, int(plan.resources.cpus_per_trial)),
        folder=plan.arm_folder(arm),
    )


def arm_seconds(plan: Plan, arm: Arm, ledger: Ledger) -> float | None:
    """Give the seconds that are left to search an arm for; None without a limit.

    Its share is what the arms of its search before it left of the minutes, divided among it and those after it.
    """
    minutes = arm.space.budget.minutes
    if minutes is None:
        return None
    of_search = [other.name for other in plan.arms if other.space.name == arm.space.name]
    position = of_search.index(arm.name)
    before = sum(ledger.searched_seconds(name) for name in of_search[:position])
    share = (minutes * 60 - before) / len(of_search[position:])
    return share - ledger.searched_seconds(arm.name)


def _stop_gently(search: ArmSearch, progress: StudyProgress) -> None:
    search.halt(INTERRUPTED)
    progress.note("Interrupted: running trials finish their epoch. Once more stops them at once.")


def _export(session: Session) -> None:
    """Mirror the trials to a file that optuna-dashboard opens; nothing depends on it."""
    path = session.plan.folder / OPTUNA_FILE
    arms = {
        arm.name: (arm.space.parameters_of(arm.model), session.ledger.outcomes(arm.name).values())
        for arm in session.plan.arms
    }
    try:
        export(path, arms)
    except Exception as error:  # a mirror must not cost the study, whatever its database raises
        session.progress.note(f"WARNING: {path} could not be written: {' '.join(str(error).split())[:200]}")
