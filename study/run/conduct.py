"""The whole study in its order: plan, prepare the data, search, select, retrain, evaluate on the test, report.

The test patients are opened only after the selection. Every step is written to the study's ledger before anything
depends on it, so the same command resumes the study after any interruption.
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jointnet.data.folder import select
from jointnet.errors import DataError, InputError
from jointnet.evaluate.metrics import DefinedMetrics, defined_metrics, undefined_metric_errors
from jointnet.patient_names import in_natural_order
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.cache import CachedPatient, fingerprint, prepare
from jointnet.preparation.patient_files import PatientFiles
from jointnet.system.atomic_file import write_whole
from study.plan.capacity import describe_cluster
from study.plan.cost import arm_epochs, arm_minutes, budget_share_minutes, retrain_minutes
from study.plan.identity import SPECIFICATION_FILE, with_identity
from study.plan.plan import Arm, Plan, specification
from study.plan.plan_text import fitted, render
from study.report.write import write_report
from study.run.planning import PHANTOM_SEED, checked_patients, chosen_patients, plan_from_options
from study.run.pseudo_labels import PreparedPatients, predicted_once, pseudo_label_tags
from study.run.rounds import SECONDS_TO_DELIVER, Rounds, Session, retrain_row
from study.run.stages import OPTUNA_FILE, evaluate_on_test, retrain_winners, search_arms, select_trials
from study.run.stopping import EXIT_NO_FINISHED_TRIAL, StudyHaltedError, interrupt_on_signals
from study.run.study_recorder import StudyRecorder, is_complete_in_store, provenance_tags
from study.run.warm_start import warm_started
from study.search.outcome import NoFinishedTrialError
from study.selection.held_out import check_sealed
from study.selection.openings import arms_without_model, is_complete, select_all
from study.store_address import ui_command
from study.store_names import REMARKS_TAG
from study.tracking.open_store import check_experiment
from study.tracking.outbox import Outbox
from study.tracking.presentation import LoggedData
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.ledger import Ledger
from study.trials.progress import ArmProgress, StudyProgress

SECONDS_AFTER_SEARCH = 30.0
"""Estimated time of the test evaluation and the report."""
SECONDS_TO_DELIVER_INTERRUPTED = 15.0


@dataclass(frozen=True)
class StudyOutcome:
    """The parts that are missing in a completed study.

    Attributes:
        missing: one line for each arm without a finished trial.
        refused: a sentence on the entries that the tracking store refused; "" if there are none. The same command
            writes them again.
        left_out: optional writes that failed; the same command tries them again.
    """

    missing: tuple[str, ...] = ()
    refused: str = ""
    left_out: tuple[str, ...] = ()


def run(options: argparse.Namespace) -> int:
    """Plan the study of a command's options, print the plan, run the study, write its report; return the exit status.

    Raises:
        SettingsError, DataError, NoFinishedTrialError, StudyHaltedError, OSError: see `conduct`.
    """
    plan = warm_started(with_identity(plan_from_options(options), new=options.new, study=options.study))
    interrupt_on_signals()  # Ray replaces the SIGTERM handler when a cluster's nodes are surveyed
    print(fitted(render(plan), shutil.get_terminal_size((1000, 24)).columns), flush=True)
    check_experiment(plan.tracking_uri)
    if options.dry_run:
        return 0
    if plan.data.kind == "phantom":
        if not plan.data.folder.exists():
            print("Writing the phantom's scans, about a second for each patient ...", flush=True)
        write_phantom(plan.data.folder, patients=plan.data.patients, seed=PHANTOM_SEED)
    unlabelled = plan.data.pseudo_labels.patients if plan.data.pseudo_labels else ()
    patients = checked_patients(plan.data.folder, plan.data.dataset, chosen_patients(options), unlabelled)
    return _report(plan, conduct(plan, patients))


def _report(plan: Plan, outcome: StudyOutcome) -> int:
    """Write and print the report of a study, print where everything is, and return the exit status.

    Raises:
        StudyHaltedError: if the tracking store refused an entry, or the report cannot be written.
    """
    try:
        report = write_report(plan.tracking_uri, plan.study_id, plan.folder / "report")
    except InputError as error:
        if outcome.refused:
            raise StudyHaltedError(f"{outcome.refused}; so there is no report: {error}", by_user=False) from error
        raise
    except OSError as error:
        raise StudyHaltedError(str(error), by_user=False) from error
    minutes = (datetime.now(UTC) - plan.started).total_seconds() / 60
    print(f"\n{report.terminal_table(colour=sys.stdout.isatty())}")
    print(f"Study      {plan.study_id}, {minutes:.1f} minutes of this command")
    print(f"Report     {plan.folder / 'report'}")
    print(f"Trials     {plan.folder / OPTUNA_FILE} (for optuna-dashboard)")
    print(f"MLflow UI  {ui_command(plan.tracking_uri)}")
    print(f"           {report.link}")
    for line in [*outcome.left_out, *report.left_out]:
        print(f"WARNING: {line}. Repeat the command to try it again.", file=sys.stderr)
    for line in outcome.missing:
        print(line, file=sys.stderr)
    print(f"\n{report.terminal_answer()}", flush=True)
    if outcome.refused:
        raise StudyHaltedError(f"{outcome.refused}. The report has what the store holds", by_user=False)
    return EXIT_NO_FINISHED_TRIAL if outcome.missing else 0


def conduct(plan: Plan, patients: Mapping[str, PatientFiles]) -> StudyOutcome:
    """Run a study or resume one. It is recorded in its ledger and in the tracking store.

    If a finished study is missing in the store, or incomplete there, all of it is written again from the ledger and the
    study's folder.

    Args:
        plan: the plan of the study.
        patients: the files of all patients, by name. Those of the test patients are checked for format and
            structures at the start, and not read again until the test evaluation.

    Raises:
        SettingsError: if the tracking store is needed and does not open, or its experiment is deleted.
        DataError: if scans break a rule, or are not those that the study began with.
        NoFinishedTrialError: if no arm has a finished trial; the test patients stay sealed.
        StudyHaltedError: if it was interrupted, the disk is full or fails, or the tracking store stays unreachable.
        OSError: if a file cannot be read or written before the first session has begun.
    """
    with Ledger(plan.folder, plan.objective) as ledger:
        selections, missing = select_all(plan, ledger, datetime.now(UTC))
        if is_complete(plan, ledger, selections) and _check_complete(plan, ledger):
            if not selections:
                raise NoFinishedTrialError("\n".join(missing))
            return StudyOutcome((*missing, *arms_without_model(plan, ledger, selections)))
        try:
            return _conduct(plan, patients, ledger)
        except OSError as error:
            if ledger.last("session") is None:
                raise  # nothing has begun
            raise StudyHaltedError(str(error), by_user=False) from error
        finally:
            if not ledger.events:  # rejected before its first event: remove its specification
                (plan.folder / SPECIFICATION_FILE).unlink(missing_ok=True)


def _check_complete(plan: Plan, ledger: Ledger) -> bool:
    """Return whether the tracking store holds all of a finished study, and print a line if it does not."""
    complete = is_complete_in_store(plan, ledger, StudyTracker(plan.tracking_uri, plan.study_id, {}))
    if not complete:
        print("The tracking store lacks this study or a part of it. It is written again from the ledger.", flush=True)
    return complete


def _conduct(plan: Plan, patients: Mapping[str, PatientFiles], ledger: Ledger) -> StudyOutcome:
    """Prepare the data, open the tracking store, carry out all stages and write everything to the store."""
    # Written first, so that a study that is killed before its session begins keeps its id.
    write_whole(plan.folder / SPECIFICATION_FILE, json.dumps(specification(plan), indent=1).encode())
    progress = StudyProgress(_rows(plan), SECONDS_AFTER_SEARCH)
    with progress:
        cached = _prepare(plan, patients, ledger, progress)
        prepared = PreparedPatients(cached, predicted_once(plan, cached, progress))
        progress.phase("opening the tracking store")
        scans = fingerprint(cached.values())
        tags = {
            "seed": str(plan.seed),
            **({REMARKS_TAG: "\n".join(plan.remarks)} if plan.remarks else {}),
            "data.kind": plan.data.kind,
            "data.fingerprint": scans,
            "nodes": describe_cluster(plan.nodes, plan.autoscaler),
            **pseudo_label_tags(plan, prepared.pseudo_labelled),
            **provenance_tags(space.name for space in plan.spaces),
        }
        data = LoggedData(f"{plan.data.kind}, {plan.data.patients} patients", plan.data.kind, scans)
        tracker = StudyTracker(plan.tracking_uri, plan.study_id, tags, plan.title, data)
        tracker.connect(needed=ledger.last("session") is None)  # a resumed study can run without the store
        ledger.append("session", fingerprint=scans, commit=tags["git.commit"])
        tracker.began_ms = ledger.events[0]["at_ms"]
        outbox = Outbox(progress.note, is_permanent)
        recorder = StudyRecorder(plan, ledger, tracker, outbox)
        session = Session(plan, ledger, tracker, outbox, recorder, progress)
        recorder.begin()
        status, missing = "FAILED", list[str]()
        try:
            with Rounds(session) as rounds:
                search_arms(session, rounds, prepared)
                selections, missing = select_trials(session)
                retrain_winners(session, rounds, prepared, selections)
            missing += evaluate_on_test(session, selections, patients)
            status = "FINISHED"
        except NoFinishedTrialError:
            missing = [arm.key for arm in plan.arms]
            raise
        except (KeyboardInterrupt, StudyHaltedError, OSError):
            status = "KILLED"
            raise
        finally:
            progress.phase("writing the last entries to the tracking store")
            recorder.end(status, tuple(line.partition(":")[0] for line in missing))
            most = SECONDS_TO_DELIVER_INTERRUPTED if status == "KILLED" else math.inf
            left = outbox.close(SECONDS_TO_DELIVER, most)
            if left:
                progress.note(f"{left} entries are not in the tracking store yet; the same command writes them.")
            elif not outbox.refusals:
                ledger.append("delivered", **({"left_out": outbox.left_out} if outbox.left_out else {}))
            elif status != "FINISHED":
                progress.note(f"WARNING: {_refusal_message(outbox)}")
        if left:
            raise session.halted_by_store()
        return StudyOutcome(tuple(missing), _refusal_message(outbox), tuple(outbox.left_out))


def _refusal_message(outbox: Outbox) -> str:
    """Return a sentence on the entries that the tracking store refused; "" if there are none."""
    if not outbox.refusals:
        return ""
    count = len(outbox.refusals)
    return (
        f"the tracking store refused {count} {'entry' if count == 1 else 'entries'}, which the same command "
        f"writes again; the first error: {outbox.refusals[0]}"
    )


def _rows(plan: Plan) -> dict[str, ArmProgress]:
    """Return the rows of the progress display: the search of each arm, then, with seeds, its retrainings."""
    rows = {arm.key: _arm_progress(plan, arm) for arm in plan.arms}
    if plan.design.seeds:
        rows |= {retrain_row(arm): _retrain_progress(plan, arm) for arm in plan.arms}
    return rows


def _arm_progress(plan: Plan, arm: Arm) -> ArmProgress:
    share, minutes, epochs = budget_share_minutes(plan, arm), arm_minutes(plan, arm), arm_epochs(plan, arm)
    samples = arm.budget.num_samples
    return ArmProgress(
        name=arm.key,
        trials=samples,
        expected_epochs=math.inf if samples is None or epochs is None else epochs,
        expected_seconds=None if minutes is None else minutes * 60,
        limit_seconds=None if share is None else share * 60,
    )


def _retrain_progress(plan: Plan, arm: Arm) -> ArmProgress:
    minutes, seeds = retrain_minutes(plan, arm), plan.design.seeds
    epochs = seeds * arm.space.fidelity.max_epochs
    return ArmProgress(retrain_row(arm), seeds, epochs, None if minutes is None else minutes * 60)


def _prepare(
    plan: Plan, patients: Mapping[str, PatientFiles], ledger: Ledger, progress: StudyProgress
) -> dict[str, CachedPatient]:
    """Prepare the training and validation patients, and those without labels, and check the sealed patients' files.

    Raises:
        DataError: if scans break a rule, including the test patients'; if the patients' labels do not suffice to
            train, validate or test on; or if the scans are not those that the study began with.
    """
    searched = {name for split in plan.splits.values() for name in (*split.train, *split.validation)}
    tested = {name for split in plan.splits.values() for name in split.test}
    unlabelled = plan.data.pseudo_labels.patients if plan.data.pseudo_labels else ()
    if sealed := select(dict(patients), in_natural_order(tested - searched)):
        progress.phase("checking the files of the sealed test patients")
    defined, errors = check_sealed(sealed)
    cached = prepare(
        select(dict(patients), in_natural_order({*searched, *unlabelled})),
        plan.cache,
        lambda done, total: progress.counted("preparing training and validation patients", done, total),
        errors,
    )
    defined |= {patient.patient: defined_metrics(patient.labels(), patient.field()) for patient in cached}
    if errors := split_errors(plan, defined):
        raise DataError(errors)
    began, now = ledger.last("session"), fingerprint(cached)
    if began is not None and began["fingerprint"] != now:
        raise DataError(
            f"{plan.data.folder}: must hold the scans that study {plan.study_id} began with, fingerprint "
            f"{began['fingerprint']}, got {now}"
        )
    return {patient.patient: patient for patient in cached}


def split_errors(plan: Plan, defined: Mapping[str, DefinedMetrics]) -> list[str]:
    """Return an error for each part of a split on which nothing could be learned or measured.

    `defined` has the metrics that each patient's labels define. The test patients of all folds are checked together, as
    in the report, because a fold may have only one.
    """
    errors, structures = [], plan.data.structures
    for key, split in plan.splits.items():
        training, validation = ({name: defined[name] for name in part} for part in (split.train, split.validation))
        errors += undefined_metric_errors(f"--splits {key}: training patients", training, "learned", structures)
        errors += undefined_metric_errors(f"--splits {key}: validation patients", validation, "measured", structures)
    sealed = in_natural_order(name for split in plan.splits.values() for name in split.test)
    tested = {name: defined[name] for name in sealed}
    return errors + undefined_metric_errors("--splits: test patients", tested, "measured", structures)
