"""Writes of a study and its arms to the tracking store, queued in the outbox. Each write is idempotent."""

import math
import platform
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jointnet.models import MODELS, model_of
from jointnet.own_code import code_of
from jointnet.system.quota import usable_cpus, usable_memory_bytes
from jointnet.system.versions import PACKAGES, commit, versions
from study.plan.identity import SPECIFICATION_FILE
from study.plan.plan import Arm, Plan, annotated_training, given, specification
from study.search.parameters import LAMBDAS, RATIOS
from study.selection.baselines import Baseline, baselines_of
from study.selection.best_trial import model_to_register
from study.setting_text import setting_text
from study.store_names import (
    BASELINES,
    OPENINGS_TAG,
    PARETO_TAG,
    SELECTED_TAG,
    SHORT_TITLE_TAG,
    SPLIT_TAG,
    TITLE_TAG,
    WINNER_TAG,
    best_name,
)
from study.tracking.find_runs import STUDY, RunKey, run_key
from study.tracking.outbox import Outbox
from study.tracking.presentation import TrialView
from study.tracking.registry import Champion, registered_name
from study.tracking.runs import NOTE, StudyTracker
from study.trials.ledger import Ledger
from study.trials.recorder import end_tags
from study.trials.work import retrain_prefix

SPLITS_FILE = "splits.json"
SELECTION_FILE = "selection.json"
TEST_FOLDER = "test"
"""Subfolder of an arm's folder, and of its artifacts, with the files of the test evaluation."""
BASELINE_FILES = ("slices.csv", "patients.csv")
TEST_FILES = (*BASELINE_FILES, "overlays.npz")
DELIVERING = ("session", "delivered")
"""Ledger events that are not part of the study's work. They do not count for its end time."""
INSTRUMENTS = ("ray", "optuna", "mlflow")
"""Packages that influence a study's result, in addition to `jointnet.system.versions.PACKAGES`."""


class StudyRecorder:
    """The writes of one study to the tracking store."""

    def __init__(self, plan: Plan, ledger: Ledger, tracker: StudyTracker, outbox: Outbox) -> None:
        self._plan, self._ledger, self._tracker, self._outbox = plan, ledger, tracker, outbox
        self._unrecorded: set[str] = set()

    @property
    def unrecorded(self) -> list[str]:
        """Keys of the arms whose selection could not be written, because the tracking store refused it."""
        return sorted(self._unrecorded)

    def begin(self) -> None:
        """Log the study as RUNNING and its arms as SCHEDULED, with their descriptions."""
        self._outbox.put(self._log_study)
        self._outbox.put(self._share_view, optional="the MLflow UI's view of the trials")
        self._outbox.put(self._describe_study, optional="the description of the study")
        for arm in self._plan.arms:
            self._outbox.put(partial(self._log_status, partial(self._arm_run, arm), "SCHEDULED"))
            self._outbox.put(partial(self._log_given, arm), optional=f"the settings of {arm.key}")
            self._outbox.put(partial(self._describe_arm, arm), optional=f"the description of {arm.key}")

    def running(self, arm: Arm) -> None:
        """Log an arm as RUNNING, when its trials or retrainings start."""
        self._outbox.put(partial(self._log_status, partial(self._arm_run, arm), "RUNNING"))

    def scheduled(self, arm: Arm) -> None:
        """Log an arm as SCHEDULED, when its trials or retrainings are over and further steps follow later."""
        self._outbox.put(partial(self._log_status, partial(self._arm_run, arm), "SCHEDULED"))

    def selected(self, arm: Arm) -> None:
        """Log the selection of an arm, which the ledger must hold."""
        self._outbox.put(partial(self._log_selection, arm))

    def tested(self, arm: Arm) -> None:
        """Log the test evaluation of an arm, which the ledger and the arm's folder must hold."""
        self._outbox.put(partial(self._log_test, arm))

    def baseline(self, baseline: Baseline) -> None:
        """Log the evaluation of a baseline, which the ledger and the baseline's folder must hold."""
        self._outbox.put(partial(self._log_baseline, baseline))

    def champions(self) -> None:
        """Register the model of each arm. Call this after the test evaluation of all arms and folds."""
        for name in dict.fromkeys(arm.name for arm in self._plan.arms):
            self._outbox.put(
                partial(self._register_champion, name), optional=f"the registered model {registered_name(name)}"
            )

    def end(self, status: str, without_result: tuple[str, ...] = ()) -> None:
        """Log the final status of the study and its arms. Arms in `without_result` are logged as FAILED."""
        worked = (event["at_ms"] for event in reversed(self._ledger.events) if event["event"] not in DELIVERING)
        ended_ms = next(worked, None)
        for arm in self._plan.arms:
            own = "FAILED" if arm.key in without_result else status
            self._outbox.put(partial(self._log_status, partial(self._arm_run, arm), own, ended_ms))
        self._outbox.put(partial(self._log_status, self._tracker.study_run, status, ended_ms))
        self._outbox.put(self._tracker.delete_duplicates)

    def _arm_run(self, arm: Arm) -> str:
        return self._tracker.arm_run(arm_tags(arm))

    def _log_status(self, run: Callable[[], str], status: str, ended_ms: int | None = None) -> None:
        self._tracker.set_status(run(), status, ended_ms)

    def _log_study(self) -> None:
        plan, run = self._plan, self._tracker.study_run()
        self._tracker.set_status(run, "RUNNING")
        self._tracker.log_json(run, SPECIFICATION_FILE, specification(plan))
        content = {counts: {**split.as_dict(), "sha256": split.sha256} for counts, split in plan.splits.items()}
        self._tracker.log_json(run, SPLITS_FILE, content)
        self._tracker.tag(run, {f"{SPLIT_TAG}.{counts}": split.sha256 for counts, split in plan.splits.items()})

    def _share_view(self) -> None:
        """Prepare the UI's table of the trials, best first, with the searched parameters as columns."""
        objective = self._plan.objective
        searched = dict.fromkeys(parameter.name for arm in self._plan.arms for parameter in arm.parameters)
        weights = [name.rpartition(".")[2] for name in LAMBDAS] if set(RATIOS) & set(searched) else []
        names = (*weights, *(name for name in searched if name not in RATIOS))
        further = tuple(each.metric for each in objective.further)
        self._tracker.share_view(TrialView(objective.metric, objective.minimizes, names, further))

    def _log_given(self, arm: Arm) -> None:
        self._tracker.log_params(self._arm_run(arm), given(self._plan.data, arm))

    def _describe_study(self) -> None:
        plan, run = self._plan, self._tracker.study_run()
        questions = " ".join(space.question for space in plan.spaces)
        data = "The built-in phantom, no real scans." if plan.data.kind == "phantom" else "A folder of scans."
        arms = ", ".join(dict.fromkeys(arm.name for arm in plan.arms))
        folds = plan.design.folds
        if folds > 1:
            once = ", so that every patient is tested once" if plan.design.splits_file is None else ""
            arms += f", each in {folds} folds{once}"
        self._tracker.describe(
            run, f"{questions} {data} Arms: {arms}. Report: `python -m study.report --study {plan.study_id}`."
        )

    def _describe_arm(self, arm: Arm) -> None:
        self._tracker.describe(self._arm_run(arm), self._arm_note(arm))

    def _arm_note(self, arm: Arm) -> str:
        counts, space = arm.split.counts, arm.space
        learned = annotated_training(self._plan.data, arm)
        searched = ", ".join(parameter.name for parameter in arm.parameters)
        budget, seeds = arm.budget, self._plan.design.seeds
        trials = (
            f"Trials for {budget.minutes:g} minutes" if budget.num_samples is None else f"{budget.num_samples} trials"
        )
        objective = space.objective
        means = "1 means no improvement" if objective.is_ratio else objective.better
        further = " and ".join(each.metric for each in objective.further)
        front = f", and makes a Pareto front with {further} (tag `{PARETO_TAG}`)" if further else ""
        ranked = (
            f"{trials} over {searched}; {objective.metric} ranks them ({means}){front}"
            if searched
            else "One trial with the arm's settings: nothing is searched"
        )
        fold = f", fold {arm.fold} of {arm.folds}" if arm.folds > 1 else ""
        tested = f"the selected trial retrained with {seeds} new seeds" if seeds else "the selected trial itself"
        return (
            f"{model_of(arm.model).name} model{fold}: {learned} training + {counts.validation} validation = "
            f"{learned + counts.validation} annotated patients, {counts.test} sealed. "
            f"{ranked}. The test values are those of {tested}."
        )

    def _log_selection(self, arm: Arm) -> None:
        self._unrecorded.add(arm.key)
        record = self._last("selected", arm)["selection"]
        run = self._arm_run(arm)
        trial_run = self._tracker.find_trial_run(record["trial_id"], arm_tags(arm)) or ""
        self._tracker.log_json(run, SELECTION_FILE, {**record, "run_id": trial_run})
        winner = f"{record['trial_id']}: {setting_text(record.get('parameters', {})) or 'the settings of its arm'}"
        metrics = {best_name(name): value for name, value in record.get("validation", {}).items()}
        self._tracker.log_rows(run, [(0, self._last("selected", arm)["at_ms"], metrics)])
        if trial_run:
            self._tracker.mark_trials([trial_run], arm_tags(arm), WINNER_TAG, arm.name)
        if "front" in record:
            front = [self._tracker.find_trial_run(trial_id, arm_tags(arm)) for trial_id in record["front"]]
            self._tracker.mark_trials([run for run in front if run], arm_tags(arm), PARETO_TAG, "front")
        value = self._plan.objective.text(record["objective"], 4)
        note = f"Winner {winner}; {self._plan.objective.metric} {value}. {self._arm_note(arm)}"
        self._tracker.tag(
            run,
            {
                NOTE: note,
                WINNER_TAG: winner,
                "selected.trial.id": record["trial_id"],
                SELECTED_TAG: trial_run,
                "selection.objective": str(record["objective"]),
            },
        )
        self._unrecorded.discard(arm.key)

    def _log_test(self, arm: Arm) -> None:
        tested, run = self._last("tested", arm), self._arm_run(arm)
        openings = [event for event in self._ledger.events if event["event"] == "opened" and event["arm"] == arm.key]
        folder = self._plan.arm_folder(arm) / TEST_FOLDER
        for name in TEST_FILES:
            self._tracker.log_file(run, folder / name, TEST_FOLDER)
        self._tracker.log_rows(run, [(len(openings) - 1, tested["at_ms"], tested["metrics"])])
        self._tracker.tag(
            run,
            {
                "test.fingerprint": tested["fingerprint"],
                OPENINGS_TAG: str(len(openings)),
                "test.opening.reasons": "; ".join(event["reason"] for event in openings),
            },
        )

    def _log_baseline(self, baseline: Baseline) -> None:
        run, event = self._tracker.baseline_run(baseline.tags), self._ledger.last("baseline", baseline.key) or {}
        for name in BASELINE_FILES:
            self._tracker.log_file(run, self._plan.folder / baseline.key / name, TEST_FOLDER)
        self._tracker.log_rows(run, [(0, event["at_ms"], event["metrics"])])
        description = f"{BASELINES[baseline.name]}: default settings, no annotated patient, no training."
        self._tracker.tag(run, {NOTE: description, "test.fingerprint": event["fingerprint"]})
        self._tracker.set_status(run, "FINISHED", event["at_ms"])

    def _register_champion(self, name: str) -> None:
        chosen = model_to_register(self._plan, self._ledger, name)
        if chosen is None:
            return
        model, arm = chosen.model, chosen.arm
        kind = "retrain" if chosen.seed_index else "trial"
        own = {"seed.index": str(chosen.seed_index), "seed": str(chosen.seed)} if chosen.seed_index else {}
        why = f"; the best on validation of the {chosen.candidates} that were tested" if chosen.candidates > 1 else ""
        self._tracker.register(
            Champion(
                name=registered_name(name),
                file=chosen.file,
                run_id=self._tracker.find_trial_run(model.trial_id, arm_tags(arm), kind) or self._arm_run(arm),
                segments=model_of(arm.model).segments,
                code=None if arm.model in MODELS else arm.model,
                tags={
                    "study.id": self._plan.study_id,
                    "data.kind": self._plan.data.kind,
                    "test.fingerprint": self._last("tested", arm)["fingerprint"],
                    "trial.id": model.trial_id,
                    "epoch": str(model.best_epoch),
                    "tested.models": str(chosen.candidates),
                    **arm_tags(arm),
                    **own,
                },
                description=f"{arm.key} of study {self._plan.study_id}, {model.trial_id}, epoch {model.best_epoch}: "
                f"{self._plan.objective.title} {model.objective_text(4)} on validation{why}. "
                f"{result_text(self._last('tested', arm)['metrics'], len(arm.split.test))}",
            )
        )

    def _last(self, kind: str, arm: Arm) -> Mapping[str, Any]:
        return self._ledger.last(kind, arm.key) or {}


def result_text(metrics: Mapping[str, float], patients: int) -> str:
    """Return the result of a model on the test patients in one line: LV CD before and after, registration ratio."""
    before, after, ratio = (
        metrics.get(f"test/{name}", math.nan) for name in ("before/cd_mm/lv", "cd_mm/lv", "registration_ratio")
    )
    distance = f"LV CD {before:.2f} to {after:.2f} mm, " if math.isfinite(before) and math.isfinite(after) else ""
    explained = f"{ratio:.2f} (1 means no improvement)" if math.isfinite(ratio) else "undefined"
    return f"On {patients} test patients: {distance}registration ratio {explained}."


def arm_tags(arm: Arm) -> dict[str, str]:
    """Return the tags of an arm's run and of its trials. A model of the user's own has its titles and code as tags."""
    model = model_of(arm.model)
    own = {
        "arm": arm.name,
        "method": arm.method,
        "model": model.name,
        "split": str(arm.split.counts),
        "split.sha256": arm.split.sha256,
    }
    if arm.model not in MODELS:
        own |= {TITLE_TAG: model.title, SHORT_TITLE_TAG: model.short_title}
        own |= {"model.code": arm.model, "model.code.digest": code_of(arm.model).digest}
    return own if arm.folds == 1 else {**own, "fold": str(arm.fold), "folds": str(arm.folds)}


def is_complete_in_store(plan: Plan, ledger: Ledger, tracker: StudyTracker) -> bool:
    """Return whether the tracking store holds the runs, tags and files of the report that the ledger implies.

    The check is one search of the study's runs and two listings of files for each arm. It does not notice other losses,
    such as metrics that were removed from a run.

    Raises:
        SettingsError: if the store does not answer, or its experiment is deleted.
    """
    ends: dict[RunKey, Mapping[str, str]] = {STUDY: {}}
    files: dict[RunKey, tuple[str, ...]] = {STUDY: (SPECIFICATION_FILE, SPLITS_FILE)}
    for arm in plan.arms:
        tags, key, own = arm_tags(arm), run_key("arm", arm_tags(arm)), dict[str, str]()
        if selected := ledger.last("selected", arm.key):
            own["selected.trial.id"] = selected["selection"]["trial_id"]
            files[key] = (SELECTION_FILE,)
        if tested := ledger.last("tested", arm.key):
            own["test.fingerprint"] = tested["fingerprint"]
            files[key] = (SELECTION_FILE, *(f"{TEST_FOLDER}/{name}" for name in TEST_FILES))
        ends[key] = own
        for group in ledger.groups():
            if group == arm.key or group.startswith(retrain_prefix(arm)):
                kind = "trial" if group == arm.key else "retrain"
                ends |= {
                    run_key(kind, tags, trial.trial_id): {} if trial.state == "running" else end_tags(trial)
                    for trial in ledger.outcomes(group).values()
                }
    for baseline in baselines_of(plan):
        if measured := ledger.last("baseline", baseline.key):
            key = run_key("baseline", baseline.tags)
            ends[key] = {"test.fingerprint": measured["fingerprint"]}
            files[key] = tuple(f"{TEST_FOLDER}/{name}" for name in BASELINE_FILES)
    return tracker.has_runs(ends, files)


def provenance_tags(searches: Iterable[str]) -> dict[str, str]:
    """Return command, commit, versions of Python and packages, and the driver's machine as tags for the store."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = usable_memory_bytes()
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model or platform.processor() or "unknown",
        "cpus": str(usable_cpus()),
        "memory_gb": "unknown" if memory is None else str(round(memory / 2**30)),
    }
    current = commit()
    return (
        {"git.commit": current, "mlflow.source.git.commit": current.partition("+")[0]}
        | {"mlflow.source.name": f"study.run --search {' '.join(searches)}", "mlflow.source.type": "LOCAL"}
        | {f"version.{name}": version for name, version in versions((*PACKAGES, *INSTRUMENTS)).items()}
        | {f"machine.{name}": value for name, value in machine.items()}
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
