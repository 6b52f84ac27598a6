"""The Pareto front of a study whose objective has several metrics: its trials as a table and in a sentence."""

from study.report.search.tradeoff import tradeoff_table
from study.report.search.trial_table import search_parameters
from study.report.store.records import ArmRecord, StudyRecord, TrialRecord
from study.report.tables import Row, Table, number, text_row
from study.setting_text import setting_text


def front_of(arm: ArmRecord) -> tuple[TrialRecord, ...]:
    """Return the trials of one arm and fold on the Pareto front, the best by the first metric first."""
    table, objective = tradeoff_table([arm])
    trials = [trial for trial, chosen in zip(arm.trials, table["front"], strict=True) if chosen]
    return tuple(sorted(trials, key=lambda trial: objective.cost(trial.objective)))


def front_sentence(study: StudyRecord) -> str:
    """Return how many trials are on the front, and which metric chose the winner; "" for an objective of one metric."""
    counts = {
        name: (sum(len(front_of(record)) for record in records), sum(len(record.trials) for record in records))
        for name, records in study.by_arm.items()
        if any(record.trials for record in records)
    }
    if not study.objective.further or not counts:
        return ""
    metrics = " and ".join(each.title for each in study.objective.all)
    each_arm = [f"{front} of {trials} trials of {name}" for name, (front, trials) in counts.items()]
    return (
        f"On the Pareto front of {metrics} on validation: {', '.join(each_arm)}. {study.objective.title} alone "
        f"chooses the winner{'s' if len(each_arm) > 1 else ''}."
    )


def front_table(study: StudyRecord) -> Table:
    """Return the trials on the front of each arm and fold, with their metrics on validation and their setting."""
    rows = [_row(study, arm, trial) for arm in study.arms for trial in front_of(arm)]
    metrics = [f"{each.title} ({each.unit})" if each.unit else each.title for each in study.objective.all]
    return Table(
        "front",
        f"The trials on the Pareto front, the best by {study.objective.title} first.",
        ("Trial", "Epoch", *metrics, "Setting"),
        tuple(rows),
        "Arm",
        "Metrics on validation at the trial's best epoch by the first metric. No other trial of the arm and fold is as "
        "good by every metric and better by one; a difference within the noise between seeds is no trade-off. All that "
        "this report says of the objective is about the first metric.",
    )


def _row(study: StudyRecord, arm: ArmRecord, trial: TrialRecord) -> Row:
    won = arm.selected is not None and arm.selected.run_id == trial.run_id
    values = [trial.objective, *(trial.validation[each.metric] for each in study.objective.further)]
    names = [one.name for one in search_parameters(study.specification, arm)]
    words = [f"{arm.arm}, fold {arm.fold}" if arm.folds > 1 else arm.arm]
    words += [f"{trial.trial_id} (winner)" if won else trial.trial_id, str(trial.best_epoch)]
    words += [*(number(value, 4) for value in values), setting_text(trial.parameters, names)]
    return text_row(words, trial.run_id)
