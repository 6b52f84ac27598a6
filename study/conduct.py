"""A study from its plan to its recorded test: prepare, search each arm, select, and only then open the test.

Everything is in the study's ledger before it is acted on, so whatever dies, the same command goes on from there.
"""

import errno
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from jointnet.atomic_file import write_whole
from jointnet.cache import CachedPatient, fingerprint, prepare
from jointnet.faults import DataFaultError
from jointnet.folder import PatientFiles, select
from study import provenance
from study.arm_search import ArmSearch
from study.capacity import told
from study.cluster import ray_session
from study.estimate import arm_epochs, arm_minutes, budget_share_minutes
from study.identity import SPECIFICATION_FILE
from study.interruption import StudyHaltedError, first_gently
from study.ledger import Ledger
from study.opening import is_recorded, is_tested, nothing_left, reason_to_open, search_is_over, select_all
from study.outbox import Outbox
from study.plan import Arm, Plan, specification
from study.progress import ArmProgress, StudyProgress
from study.recorder import ArmRecorder
from study.sealed_test import open_test
from study.search import search_arm
from study.selection import NoFinishedTrialError
from study.store_layout import INTERRUPTED
from study.study_recorder import StudyRecorder, arm_tags
from study.suggestion import export
from study.tracking import StudyTracker, refused
from study.trial import ArmTask

SECONDS_AFTER_SEARCH = 30.0
"""The sealed test and the report, about."""
SECONDS_TO_DELIVER = 120.0
"""That a tracking store which is away is waited for, before the test patients are opened and at the end."""
SECONDS_TO_DELIVER_INTERRUPTED = 15.0
OPTUNA_FILE = "optuna.db"


def conduct(plan: Plan, patients: Mapping[int, PatientFiles]) -> list[str]:
    """Carry a study out, or go on with one, all of it recorded in its ledger and in the tracking store.

    Args:
        plan: what to do.
        patients: the files of all patients, by number; those of the test patients stay unread until the end.

    Returns:
        One line for each arm without a finished trial.

    Raises:
        DataFaultError: where scans break a rule, or are not those that the study began with.
        NoFinishedTrialError: where no arm has a finished trial; the test patients stay sealed.
        StudyHaltedError: where it was interrupted, the disk is full, or the tracking store stays away.
    """
    with Ledger(plan.folder) as ledger:
        selections, missing = select_all(plan, ledger, datetime.now(UTC))
        if nothing_left(plan, ledger, selections):
            if not selections:
                raise NoFinishedTrialError("\n".join(missing))
            return missing
        try:
            return _conduct(plan, patients, ledger)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StudyHaltedError(str(error), by_user=False) from error


def _conduct(plan: Plan, patients: Mapping[int, PatientFiles], ledger: Ledger) -> list[str]:
    progress = StudyProgress({arm.name: _arm_progress(plan, arm) for arm in plan.arms}, SECONDS_AFTER_SEARCH)
    with progress:
        cached = _prepare(plan, patients, ledger, progress)
        progress.phase("opening the tracking store")
        scans = fingerprint(cached.values())
        tags = {
            "seed": str(plan.seed),
            "data.kind": plan.data.kind,
            "data.fingerprint": scans,
            "nodes": told(plan.nodes),
            **provenance.tags(),
        }
        tracker = StudyTracker(plan.tracking_uri, plan.study_id, tags)
        if ledger.last("session") is None:  # later on, a store that is away holds up nobody
            tracker.connect()
        write_whole(plan.folder / SPECIFICATION_FILE, json.dumps(specification(plan), indent=1).encode())
        ledger.append("session", fingerprint=scans, commit=tags["git.commit"])
        outbox = Outbox(progress.note, refused)
        recorder = StudyRecorder(plan, ledger, tracker, outbox)
        recorder.begin()
        status, missing = "FAILED", []
        try:
            _search_all(plan, cached, ledger, tracker, outbox, progress)
            missing = _choose_and_test(plan, patients, ledger, recorder, outbox, progress)
            status = "FINISHED"
        except NoFinishedTrialError:
            missing = [arm.name for arm in plan.arms]
            raise
        except (KeyboardInterrupt, StudyHaltedError):
            status = "KILLED"
            raise
        finally:
            progress.phase("telling the tracking store the rest")
            recorder.end(status, tuple(line.partition(":")[0] for line in missing))
            left = outbox.close(SECONDS_TO_DELIVER_INTERRUPTED if status == "KILLED" else SECONDS_TO_DELIVER)
            if left:
                progress.note(f"{left} entries are not in the tracking store yet; the same command delivers them.")
            else:
                ledger.append("delivered")
        if left:
            raise StudyHaltedError("the tracking store is away", by_user=False)
        return missing


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


def _arm_progress(plan: Plan, arm: Arm) -> ArmProgress:
    share, minutes = budget_share_minutes(plan, arm), arm_minutes(plan, arm)
    return ArmProgress(
        name=arm.name,
        trials=arm.space.budget.num_samples,
        expected_epochs=arm_epochs(arm),
        expected_seconds=None if minutes is None else minutes * 60,
        limit_seconds=None if share is None else share * 60,
    )


def _prepare(
    plan: Plan, patients: Mapping[int, PatientFiles], ledger: Ledger, progress: StudyProgress
) -> dict[int, CachedPatient]:
    """Prepare the training and validation patients; they must be those that the study began with."""
    searched = sorted({number for split in plan.splits.values() for number in (*split.train, *split.validation)})
    cached = prepare(
        select(dict(patients), searched),
        plan.cache,
        lambda done, total: progress.counted("preparing training and validation patients", done, total),
    )
    began, now = ledger.last("session"), fingerprint(cached)
    if began is not None and began["fingerprint"] != now:
        raise DataFaultError(
            f"{plan.data.folder}: must hold the scans that study {plan.study_id} began with, fingerprint "
            f"{began['fingerprint']}, got {now}"
        )
    return {patient.patient: patient for patient in cached}


def _search_all(
    plan: Plan,
    patients: Mapping[int, CachedPatient],
    ledger: Ledger,
    tracker: StudyTracker,
    outbox: Outbox,
    progress: StudyProgress,
) -> None:
    """Search the arms one after the other, as far as trials and time are left."""
    tasks = {arm.name: arm_task(plan, arm, patients) for arm in plan.arms}
    recorders = {
        arm.name: ArmRecorder(tasks[arm.name], arm_tags(arm), ledger, tracker, outbox, progress) for arm in plan.arms
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
            _export(plan, ledger, progress)
            if search.halted:
                raise StudyHaltedError(search.halted, by_user=not search.faulty)
            budget = arm.space.budget
            ledger.append("searched", arm=arm.name, num_samples=budget.num_samples, minutes=budget.minutes)
            progress.arm_ended(arm.name)


def _stop_gently(search: ArmSearch, progress: StudyProgress) -> None:
    search.halt(INTERRUPTED)
    progress.note("Interrupted: running trials finish their epoch. Once more stops them at once.")


def _export(plan: Plan, ledger: Ledger, progress: StudyProgress) -> None:
    """Mirror the trials to a file that optuna-dashboard opens; nothing depends on it."""
    arms = {arm.name: (arm.space.parameters_of(arm.model), ledger.outcomes(arm.name).values()) for arm in plan.arms}
    try:
        export(plan.folder / OPTUNA_FILE, arms)
    except Exception as error:  # a mirror must not cost the study, whatever its database raises
        progress.note(
            f"WARNING: {plan.folder / OPTUNA_FILE} could not be written: {' '.join(str(error).split())[:200]}"
        )


def _choose_and_test(
    plan: Plan,
    patients: Mapping[int, PatientFiles],
    ledger: Ledger,
    recorder: StudyRecorder,
    outbox: Outbox,
    progress: StudyProgress,
) -> list[str]:
    """Select in every arm, record that, and then open the test patients where a selection is new."""
    selections, missing = select_all(plan, ledger, datetime.now(UTC))
    arms = {arm.name: arm for arm in plan.arms}
    for name, selection in selections.items():
        if not is_recorded(ledger, name, selection):
            ledger.append("selected", arm=name, selection=selection.as_dict())
        recorder.selected(arms[name])
        for remark in selection.remarks:
            progress.note(f"{name}: {remark}")
    if not selections:
        raise NoFinishedTrialError("\n".join(missing))
    due = {name: selection for name, selection in selections.items() if not is_tested(ledger, name, selection)}
    if due and outbox.flush(SECONDS_TO_DELIVER):
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
        recorder.tested(arms[name])
    return missing
