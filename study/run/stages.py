"""The stages of a study in their order: search, selection, retraining, and the evaluation on the test patients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from jointnet.data.folder import select
from jointnet.models import model_of
from jointnet.own_code import code_of
from jointnet.preparation.cache import CachedPatient, prepare
from jointnet.preparation.patient_files import PatientFiles
from jointnet.system.quota import torch_threads
from study.plan.plan import Arm, Plan
from study.run.pseudo_labels import PreparedPatients
from study.run.rounds import SECONDS_TO_DELIVER, Rounds, Session, check_halted
from study.run.stopping import StudyHaltedError
from study.run.study_recorder import TEST_FOLDER
from study.search.optuna_trials import write_optuna_file
from study.search.outcome import NoFinishedTrialError, TrialOutcome
from study.selection.baselines import baselines_of, evaluate_baseline, evaluators
from study.selection.best_trial import Selection
from study.selection.held_out import evaluate_held_out
from study.selection.openings import (
    is_recorded,
    is_tested,
    models_to_test,
    names_of,
    reason_to_open,
    search_is_over,
    select_all,
)
from study.trials.ledger import Ledger
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask
from study.trials.work import retrain_prefix, retrain_work, search_work

OPTUNA_FILE = "optuna.db"
RETRAIN_FOLDER = "retrain"


def search_arms(session: Session, rounds: Rounds, patients: PreparedPatients) -> None:
    """Search the arms whose search is not over, one after the other, within their trials and time.

    Args:
        session: session of the study.
        rounds: runs the trials.
        patients: the training and validation patients, and those without labels.

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
        rounds.start_ray()
        seconds = arm_seconds(plan, arm, ledger)
        recorder = recorders[arm.key]
        search = ArmSearch(search_work(plan, arm), recorder, plan.most_at_once, plan.resources.gpus_per_trial)
        rounds.wait(search)
        ledger.append("searching", arm=arm.key)
        session.recorder.running(arm)
        progress.arm_started(arm.key, seconds, f"searching {arm.key}")
        search.end_finished()
        if search.work_left() and (seconds is None or seconds > 0):
            rounds.run(search, recorder.task, seconds)
        elif search.work_left():
            progress.note(f"{arm.key}: the time budget is used up; repeat the command with a larger --minutes.")
        _export(session)
        check_halted(search)
        ledger.append("searched", arm=arm.key, **vars(arm.budget))
        progress.arm_ended(arm.key, "trials")
        session.recorder.scheduled(arm)


def arm_task(plan: Plan, arm: Arm, patients: PreparedPatients) -> ArmTask:
    """Return the common input of an arm's trials. It has no test patients."""
    pseudo_labels = plan.data.pseudo_labels if model_of(arm.model).segments else None
    return ArmTask(
        arm=arm.key,
        settings=arm.settings,
        training=(
            *(patients.labelled[name] for name in arm.split.train),
            *(patients.pseudo_labelled if pseudo_labels else ()),
        ),
        validation=tuple(patients.labelled[name] for name in arm.split.validation),
        seed=plan.seed,
        device=plan.resources.device,
        threads=plan.resources.threads,
        folder=plan.arm_folder(arm),
        code=tuple(code_of(reference) for reference in arm.own_code),
        teachers=pseudo_labels.seen if pseudo_labels else (),
        downsamplings=_downsamplings(arm),
        objective=plan.objective,
    )


def _downsamplings(arm: Arm) -> tuple[int, ...]:
    """Return the values of `training.downsampling` that trials of an arm may have."""
    name = "training.downsampling"
    searched = [value for each in arm.parameters if each.name == name for value in each.domain.values or ()]
    stated = [sample[name] for sample in arm.first_samples if name in sample]
    return tuple(sorted({arm.settings.training.downsampling, *map(int, (*searched, *stated))}))


def arm_seconds(plan: Plan, arm: Arm, ledger: Ledger) -> float | None:
    """Return the seconds left for the search of an arm, its share minus the seconds already searched; None: no limit.

    With `per_arm` the share is the budget's minutes. Otherwise it is the time that the earlier arms of the same search
    left, divided equally among this arm and the later ones. An arm that exceeded its share, to reach a first
    validation, counts with its share only.
    """
    budget = arm.budget
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
    arms = {arm.key: (arm.parameters, session.ledger.outcomes(arm.key).values()) for arm in session.plan.arms}
    try:
        write_optuna_file(path, arms, session.plan.objective)
    except Exception as error:  # no error of this optional file may stop the study
        session.progress.note(f"WARNING: {path} could not be written: {' '.join(str(error).split())[:200]}")


def select_trials(session: Session) -> tuple[dict[str, Selection], list[str]]:
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


def retrain_winners(
    session: Session, rounds: Rounds, patients: PreparedPatients, selections: Mapping[str, Selection]
) -> None:
    """Retrain the selected trials with the requested seeds that are not done yet.

    Args:
        session: session of the study.
        rounds: runs the retrainings.
        patients: the training and validation patients, and those without labels.
        selections: selections by the key of their arm, recorded in the ledger.

    Raises:
        StudyHaltedError: the study was interrupted, or the disk is full.
    """
    plan, progress = session.plan, session.progress
    for arm in plan.arms:
        for trial_id in _retrained_trials(session, arm):  # runs of earlier selections must not stay RUNNING in MLflow
            if arm.key not in selections or trial_id != selections[arm.key].trial.trial_id:
                _retrain_recorder(session, arm, trial_id, patients).catch_up(counted=False)
    for arm in plan.arms:
        if arm.key not in selections or not plan.design.seeds:
            continue
        winner = selections[arm.key].trial
        recorder = _retrain_recorder(session, arm, winner.trial_id, patients)
        recorder.catch_up()
        search = ArmSearch(retrain_work(plan, arm, winner), recorder, plan.most_at_once, plan.resources.gpus_per_trial)
        search.end_finished()
        if search.work_left():
            rounds.start_ray()
            rounds.wait(search)
            session.recorder.running(arm)
            progress.arm_started(recorder.row, None, f"retraining {winner.trial_id} of {arm.key}")
            rounds.run(search, recorder.task, None)
            check_halted(search)
            session.recorder.scheduled(arm)
            progress.arm_ended(recorder.row, "retrainings")


def _retrain_recorder(session: Session, arm: Arm, winner: str, patients: PreparedPatients) -> ArmRecorder:
    """Create the recorder of a winner's retrainings. Their input is that of the search, with another key and folder."""
    task = replace(
        arm_task(session.plan, arm, patients),
        arm=f"{retrain_prefix(arm)}{winner}",
        folder=session.plan.arm_folder(arm) / RETRAIN_FOLDER,
    )
    return session.arm_recorder(arm, task, retrains=winner)


def _retrained_trials(session: Session, arm: Arm) -> list[str]:
    """Return the ids of all trials of an arm that have retrainings in the ledger."""
    prefix = retrain_prefix(arm)
    return [key.removeprefix(prefix) for key in session.ledger.groups() if key.startswith(prefix)]


def evaluate_on_test(
    session: Session, selections: Mapping[str, Selection], patients: Mapping[str, PatientFiles]
) -> list[str]:
    """Open the test patients of each arm whose models were not tested yet, and evaluate all its models.

    The baselines are evaluated on the same patients, once per fold.

    Args:
        session: session of the study.
        selections: selections by the key of their arm. They are recorded in the ledger, and retrained where seeds are
            requested.
        patients: the files of all patients, by name.

    Returns:
        One line for each arm without a model to test.

    Raises:
        StudyHaltedError: a selection is not in the tracking store, because the store is unavailable or rejected it. The
            patients then stay sealed.
    """
    plan, ledger = session.plan, session.ledger
    testable, due, missing = list[Arm](), dict[str, tuple[TrialOutcome, ...]](), list[str]()
    for arm in (arm for arm in plan.arms if arm.key in selections):
        try:
            models = models_to_test(plan, arm, ledger, selections[arm.key])
        except NoFinishedTrialError as error:
            missing.append(str(error))
            continue
        testable.append(arm)
        if not is_tested(ledger, arm.key, models):
            due[arm.key] = models
    if due:
        _check_selections_stored(session)
    arms = [arm for arm in testable if arm.key in due]
    for arm in arms:
        _record_opening(session, arm, selections[arm.key], due[arm.key])
    opened = {
        names: prepare(select(dict(patients), names), plan.cache)
        for names in dict.fromkeys(arm.split.test for arm in arms)
    }
    with torch_threads(plan.resources.threads):
        _evaluate_baselines(session, opened)
        for arm in arms:
            session.progress.phase(f"evaluating {arm.key} on the test patients")
            names, models = arm.split.test, due[arm.key]
            files = {model.number if plan.design.seeds else None: model.model for model in models}
            result = evaluate_held_out(
                opened[names], files, plan.arm_folder(arm) / TEST_FOLDER, plan.resources.device, arm.own_code
            )
            content = {"metrics": result.metrics, "fingerprint": result.fingerprint, "models": names_of(models)}
            ledger.append("tested", arm=arm.key, trial=selections[arm.key].trial.trial_id, **content)
    for arm in testable:
        session.recorder.tested(arm)
    for baseline in baselines_of(plan):
        if ledger.last("baseline", baseline.key):
            session.recorder.baseline(baseline)
    session.recorder.champions()
    return missing


def _evaluate_baselines(session: Session, opened: Mapping[tuple[str, ...], Sequence[CachedPatient]]) -> None:
    """Evaluate the baselines of the folds whose test patients are open, once per fold.

    They come before the arms, so that the baselines of a fold whose arms are tested are never missing after an
    interruption. A baseline that fails is left out with a warning, because it is not part of the study's question.
    """
    plan, ledger = session.plan, session.ledger
    for baseline in baselines_of(plan):
        is_due = baseline.test in opened and not ledger.last("baseline", baseline.key)
        if not is_due or baseline.name not in evaluators():
            continue
        session.progress.phase(f"evaluating {baseline.key} on the test patients")
        folder = plan.folder / baseline.key
        try:
            result = evaluate_baseline(baseline.name, opened[baseline.test], folder, plan.resources.device)
        except OSError:
            raise
        except Exception as error:  # other packages raise their own errors
            session.progress.note(f"WARNING: {baseline.key} is left out: {' '.join(str(error).split())[:200]}")
            continue
        ledger.append("baseline", arm=baseline.key, metrics=result.metrics, fingerprint=result.fingerprint)


def _check_selections_stored(session: Session) -> None:
    """Raise an error unless the tracking store holds every selection.

    Raises:
        StudyHaltedError: the store is unavailable or refused a selection.
    """
    if session.outbox.flush(SECONDS_TO_DELIVER):
        raise session.halted_by_store(", and the test patients stay sealed until it has the selections")
    if session.recorder.unrecorded:
        raise StudyHaltedError(
            f"the tracking store refused the selection of {' and '.join(session.recorder.unrecorded)}, and the test "
            f"patients stay sealed until it has the selections; its error: {session.outbox.refusals[0]}",
            by_user=False,
        )


def _record_opening(session: Session, arm: Arm, selection: Selection, models: tuple[TrialOutcome, ...]) -> None:
    """Record an opening in the ledger, unless the test patients were opened for these models already."""
    ledger = session.ledger
    if reason := reason_to_open(ledger, arm.key, selection, models):
        times = ledger.count("opened", arm.key) + 1
        ledger.append("opened", arm=arm.key, trial=selection.trial.trial_id, reason=reason, models=names_of(models))
        if times > 1:
            session.progress.note(f"{arm.key}: the test patients are opened again (opening {times}): {reason}")
