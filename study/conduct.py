"""A study from its plan to its recorded test: prepare, search each arm, select, and only then open the test."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from jointnet.cache import CachedPatient, fingerprint, prepare
from jointnet.folder import PatientFiles, select
from study import provenance
from study.capacity import told
from study.cluster import ray_session
from study.estimate import arm_epochs, arm_minutes, budget_share_minutes
from study.plan import Arm, Plan, specification
from study.progress import ArmProgress, StudyProgress
from study.recorder import ArmRecorder
from study.sealed_test import open_test
from study.search import search_arm
from study.selection import NoFinishedTrialError, Selection, select_best
from study.splits import Split
from study.tracking import StudyTracker
from study.trial import ArmTask

SECONDS_AFTER_SEARCH = 30.0
"""The sealed test and the report, about."""


def conduct(plan: Plan, patients: Mapping[int, PatientFiles]) -> list[str]:
    """Carry a study out, all of it recorded in the tracking store.

    Args:
        plan: what to do.
        patients: the files of all patients, by number; those of the test patients stay unread until the end.

    Returns:
        One line for each arm without a finished trial.

    Raises:
        DataFaultError: where scans break a rule.
        NoFinishedTrialError: where no arm has a finished trial; the test patients stay sealed.
    """
    progress = StudyProgress({arm.name: _arm_progress(plan, arm) for arm in plan.arms}, SECONDS_AFTER_SEARCH)
    tags = {"seed": str(plan.seed), "data.kind": plan.data.kind, "nodes": told(plan.nodes), **provenance.tags()}
    searched = sorted({number for split in plan.splits.values() for number in (*split.train, *split.validation)})
    with progress:
        cached = prepare(
            select(dict(patients), searched),
            plan.cache,
            lambda done, total: progress.counted("preparing training and validation patients", done, total),
        )
        tags["data.fingerprint"] = fingerprint(cached)
        by_number = {patient.patient: patient for patient in cached}
        progress.phase("opening the tracking store")
        with StudyTracker(plan.tracking_uri, plan.study_id, tags) as tracker:
            _record_study(plan, tracker)
            arm_runs = {arm.name: _record_arm(arm, tracker) for arm in plan.arms}
            recorders = _search_all(plan, by_number, arm_runs, tracker, progress)
            selections, missing = _select_all(plan, recorders, arm_runs, tracker, progress)
            if not selections:
                raise NoFinishedTrialError("\n".join(missing))
            progress.phase("opening the sealed test patients")
            test = next(iter(plan.splits.values())).test
            open_test(select(dict(patients), test), plan.cache, selections, arm_runs, tracker, plan.resources.device)
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


def _arm_progress(plan: Plan, arm: Arm) -> ArmProgress:
    share, minutes = budget_share_minutes(plan, arm), arm_minutes(plan, arm)
    return ArmProgress(
        name=arm.name,
        trials=arm.space.budget.num_samples,
        expected_epochs=arm_epochs(arm),
        expected_seconds=None if minutes is None else minutes * 60,
        limit_seconds=None if share is None else share * 60,
    )


def _record_study(plan: Plan, tracker: StudyTracker) -> None:
    splits: dict[str, Split] = plan.splits
    questions = " ".join(space.question for space in plan.spaces)
    data = "The built-in phantom, no real scans." if plan.data.kind == "phantom" else "A folder of scans."
    arms = ", ".join(arm.name for arm in plan.arms)
    tracker.describe(
        tracker.study_run,
        f"{questions} {data} Arms: {arms}. Report: `python -m study.report --study {plan.study_id}`.",
    )
    tracker.tag(tracker.study_run, {f"split.sha256.{counts}": split.sha256 for counts, split in splits.items()})
    tracker.log_json(tracker.study_run, "specification.json", specification(plan))
    content = {counts: {**split.as_dict(), "sha256": split.sha256} for counts, split in splits.items()}
    tracker.log_json(tracker.study_run, "splits.json", content)


def _record_arm(arm: Arm, tracker: StudyTracker) -> str:
    """Begin the run of an arm and describe it."""
    run, counts, space = tracker.begin_arm(arm.name, _arm_tags(arm)), arm.split.counts, arm.space
    searched = ", ".join(parameter.name for parameter in space.parameters_of(arm.model))
    tracker.describe(
        run,
        f"{arm.model} model: {counts.train} patients to train, {counts.validation} to validate, {counts.test} sealed. "
        f"{space.budget.num_samples} trials over {searched}; {space.objective.metric} ranks them (1 is no "
        "better than doing nothing). The test values are those of the selected trial.",
    )
    return run


def _arm_tags(arm: Arm) -> dict[str, str]:
    return {"arm": arm.name, "model": arm.model, "split": str(arm.split.counts), "split.sha256": arm.split.sha256}


def _search_all(
    plan: Plan,
    patients: Mapping[int, CachedPatient],
    arm_runs: Mapping[str, str],
    tracker: StudyTracker,
    progress: StudyProgress,
) -> dict[str, ArmRecorder]:
    """Search the arms one after the other; what an arm leaves of its time goes to the later ones of its search."""
    recorders = {}
    left = {space.name: space.budget.minutes and space.budget.minutes * 60 for space in plan.spaces}
    progress.phase("starting Ray")
    with ray_session(plan.address):
        for index, arm in enumerate(plan.arms):
            still = sum(other.space.name == arm.space.name for other in plan.arms[index:])
            whole = left[arm.space.name]
            seconds = None if whole is None else max(1.0, whole / still)
            task = arm_task(plan, arm, patients)
            recorder = ArmRecorder(task, arm_runs[arm.name], _arm_tags(arm), tracker, progress)
            recorders[arm.name] = recorder
            progress.arm_started(arm.name, seconds)
            began = time.monotonic()
            search_arm(task, arm.space, plan.resources, recorder, plan.folder / "tune", seconds)
            if whole is not None:
                left[arm.space.name] = whole - (time.monotonic() - began)
            progress.arm_ended(arm.name)
    return recorders


def _select_all(
    plan: Plan,
    recorders: Mapping[str, ArmRecorder],
    arm_runs: Mapping[str, str],
    tracker: StudyTracker,
    progress: StudyProgress,
) -> tuple[dict[str, Selection], list[str]]:
    """Select in every arm and record each selection; give them, and a line for each arm that has none."""
    selections: dict[str, Selection] = {}
    missing = []
    for arm in plan.arms:
        try:
            chosen = select_best(arm.name, recorders[arm.name].outcomes.values(), datetime.now(UTC))
        except NoFinishedTrialError as error:
            missing.append(str(error))
            tracker.end(arm_runs[arm.name], "FAILED")
            continue
        record = chosen.as_dict()
        tracker.log_json(arm_runs[arm.name], "selection.json", record)
        tracker.tag(
            arm_runs[arm.name],
            {
                "selected.trial.id": chosen.trial.trial_id,
                "selected.run.id": chosen.trial.run_id or "",
                "selection.objective": str(chosen.trial.objective),
            },
        )
        selections[arm.name] = chosen
        for remark in chosen.remarks:
            progress.note(f"{arm.name}: {remark}")
    return selections, missing
