"""A study from its plan to its test evaluation: prepare the data, search each arm, select, evaluate on the test.

The test patients are opened only after the selection. Every step is in the study's ledger before it is acted on, so the
same command resumes the study after any interruption.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jointnet.data.cache import CachedPatient, fingerprint, prepare
from jointnet.data.folder import PatientFiles, select
from jointnet.errors import DataError
from jointnet.evaluate.measurable import Measurable, measurable, unmeasurable
from jointnet.system.atomic_file import write_whole
from study.machines import versions as provenance
from study.plan.capacity import told
from study.plan.estimate import arm_epochs, arm_minutes, budget_share_minutes, retrain_minutes
from study.plan.identity import SPECIFICATION_FILE
from study.plan.plan import Arm, Plan, specification
from study.run.choosing import choose_all, open_all
from study.run.interruption import StudyHaltedError
from study.run.retraining import retrain_all
from study.run.rounds import Rounds
from study.run.searching import search_all
from study.run.session import SECONDS_TO_DELIVER, Session, retrain_row
from study.run.study_recorder import StudyRecorder, is_told
from study.selection.best_trial import NoFinishedTrialError
from study.selection.held_out import check_sealed
from study.selection.openings import nothing_left, select_all, untestable
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker, refused
from study.trials.ledger import Ledger
from study.trials.progress import ArmProgress, StudyProgress

SECONDS_AFTER_SEARCH = 30.0
"""Estimated time of the test evaluation and the report."""
SECONDS_TO_DELIVER_INTERRUPTED = 15.0


@dataclass(frozen=True)
class StudyOutcome:
    """The parts that a completed study lacks.

    Attributes:
        missing: one line for each arm without a finished trial.
        refused: a sentence on the entries that the tracking store refused; "" if there are none. The same command
            writes them again.
        left_out: optional writes that failed; the same command tries them again.
    """

    missing: tuple[str, ...] = ()
    refused: str = ""
    left_out: tuple[str, ...] = ()


def conduct(plan: Plan, patients: Mapping[int, PatientFiles]) -> StudyOutcome:
    """Run a study or resume one. It is recorded in its ledger and in the tracking store.

    If a finished study is missing in the store, or incomplete there, all of it is written again from the ledger and the
    study's folder.

    Args:
        plan: the plan of the study.
        patients: the files of all patients, by number. Those of the test patients are checked for format and
            structures at the start, and not read again until the test evaluation.

    Raises:
        SettingsError: if the tracking store is needed and does not open, or its experiment is deleted.
        DataError: if scans break a rule, or are not those that the study began with.
        NoFinishedTrialError: if no arm has a finished trial; the test patients stay sealed.
        StudyHaltedError: if it was interrupted, the disk is full or fails, or the tracking store stays unreachable.
        OSError: if a file cannot be read or written before the first session has begun.
    """
    with Ledger(plan.folder) as ledger:
        selections, missing = select_all(plan, ledger, datetime.now(UTC))
        if nothing_left(plan, ledger, selections) and _is_told(plan, ledger):
            if not selections:
                raise NoFinishedTrialError("\n".join(missing))
            return StudyOutcome((*missing, *untestable(plan, ledger, selections)))
        try:
            return _conduct(plan, patients, ledger)
        except OSError as error:
            if ledger.last("session") is None:
                raise  # nothing has begun
            raise StudyHaltedError(str(error), by_user=False) from error
        finally:
            if not ledger.events:  # rejected before its first event: remove its specification
                (plan.folder / SPECIFICATION_FILE).unlink(missing_ok=True)


def _is_told(plan: Plan, ledger: Ledger) -> bool:
    """Return whether the tracking store holds all of a finished study, and print a line if it does not."""
    told_all = is_told(plan, ledger, StudyTracker(plan.tracking_uri, plan.study_id, {}))
    if not told_all:
        print("The tracking store lacks this study, or a part of it, which is told again from the ledger.", flush=True)
    return told_all


def _conduct(plan: Plan, patients: Mapping[int, PatientFiles], ledger: Ledger) -> StudyOutcome:
    # Written first, so that a study that is killed before its session begins keeps its id.
    write_whole(plan.folder / SPECIFICATION_FILE, json.dumps(specification(plan), indent=1).encode())
    progress = StudyProgress(_rows(plan), SECONDS_AFTER_SEARCH)
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
        tracker.connect(needed=ledger.last("session") is None)  # a resumed study can run without the store
        ledger.append("session", fingerprint=scans, commit=tags["git.commit"])
        tracker.began_ms = ledger.events[0]["at_ms"]
        outbox = Outbox(progress.note, refused)
        recorder = StudyRecorder(plan, ledger, tracker, outbox)
        session = Session(plan, ledger, tracker, outbox, recorder, progress)
        recorder.begin()
        status, missing = "FAILED", list[str]()
        try:
            with Rounds(session) as rounds:
                search_all(session, rounds, cached)
                selections, missing = choose_all(session)
                retrain_all(session, rounds, cached, selections)
            missing += open_all(session, selections, patients)
            status = "FINISHED"
        except NoFinishedTrialError:
            missing = [arm.key for arm in plan.arms]
            raise
        except (KeyboardInterrupt, StudyHaltedError, OSError):
            status = "KILLED"
            raise
        finally:
            progress.phase("telling the tracking store the rest")
            recorder.end(status, tuple(line.partition(":")[0] for line in missing))
            left = outbox.close(SECONDS_TO_DELIVER_INTERRUPTED if status == "KILLED" else SECONDS_TO_DELIVER)
            if left:
                progress.note(f"{left} entries are not in the tracking store yet; the same command delivers them.")
            elif not outbox.refusals:
                ledger.append("delivered", **({"left_out": outbox.left_out} if outbox.left_out else {}))
            elif status != "FINISHED":
                progress.note(f"WARNING: {_told_refusals(outbox)}")
        if left:
            raise session.halted_by_store()
        return StudyOutcome(tuple(missing), _told_refusals(outbox), tuple(outbox.left_out))


def _told_refusals(outbox: Outbox) -> str:
    """Return a sentence on the entries that the tracking store refused; "" if there are none."""
    if not outbox.refusals:
        return ""
    count = len(outbox.refusals)
    return (
        f"the tracking store refused {count} {'entry' if count == 1 else 'entries'}, which the same command tells it "
        f"again; of the first it said: {outbox.refusals[0]}"
    )


def _rows(plan: Plan) -> dict[str, ArmProgress]:
    """Return the rows of the progress display: the search of each arm, then, with seeds, its retrainings."""
    rows = {arm.key: _arm_progress(plan, arm) for arm in plan.arms}
    if plan.design.seeds:
        rows |= {retrain_row(arm): _retrain_progress(plan, arm) for arm in plan.arms}
    return rows


def _arm_progress(plan: Plan, arm: Arm) -> ArmProgress:
    share, minutes, epochs = budget_share_minutes(plan, arm), arm_minutes(plan, arm), arm_epochs(plan, arm)
    samples = arm.space.budget.num_samples
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
    plan: Plan, patients: Mapping[int, PatientFiles], ledger: Ledger, progress: StudyProgress
) -> dict[int, CachedPatient]:
    """Prepare the training and validation patients and check the sealed test patients' files.

    Raises:
        DataError: if scans break a rule, including the test patients'; if the patients' labels do not suffice to
            train, validate or test on; or if the scans are not those that the study began with.
    """
    searched = {number for split in plan.splits.values() for number in (*split.train, *split.validation)}
    tested = {number for split in plan.splits.values() for number in split.test}
    if sealed := select(dict(patients), sorted(tested - searched)):
        progress.phase("checking the files of the sealed test patients")
    shown, errors = check_sealed(sealed)
    cached = prepare(
        select(dict(patients), sorted(searched)),
        plan.cache,
        lambda done, total: progress.counted("preparing training and validation patients", done, total),
        errors,
    )
    shown |= {patient.patient: measurable(patient.labels()) for patient in cached}
    if errors := split_errors(plan, shown):
        raise DataError(errors)
    began, now = ledger.last("session"), fingerprint(cached)
    if began is not None and began["fingerprint"] != now:
        raise DataError(
            f"{plan.data.folder}: must hold the scans that study {plan.study_id} began with, fingerprint "
            f"{began['fingerprint']}, got {now}"
        )
    return {patient.patient: patient for patient in cached}


def split_errors(plan: Plan, shown: Mapping[int, Measurable]) -> list[str]:
    """Return an error for each part of a split on which nothing could be learned or measured.

    The test patients of all folds are checked together, as in the report, because a fold may have only one.
    """
    errors = []
    for key, split in plan.splits.items():
        errors += unmeasurable(f"--splits {key}: training patients", {n: shown[n] for n in split.train}, "learned")
        errors += unmeasurable(
            f"--splits {key}: validation patients", {n: shown[n] for n in split.validation}, "measured"
        )
    tested = sorted({number for split in plan.splits.values() for number in split.test})
    return errors + unmeasurable("--splits: test patients", {n: shown[n] for n in tested}, "measured")
