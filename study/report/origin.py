"""The provenance of a study's numbers: data, splits, seeds, code, machine, time and registered models."""

from collections.abc import Mapping

from study.report import tables
from study.report.findings import endings
from study.report.records import ArmRecord, StudyRecord
from study.report.run_tables import hours


def provenance(study: StudyRecord) -> list[tuple[str, str]]:
    """Return the provenance of the numbers as pairs of name and value."""
    tags, arms = study.tags, study.arms
    trials = [trial for arm in arms for trial in arm.trials]
    again = [one for arm in arms for one in arm.retrains]
    seeds = dict.fromkeys(one.seed for one in again)
    openings = ", ".join(f"{_name(arm)} {arm.openings}" for arm in arms)
    reasons = "; ".join(f"{_name(arm)}: {told}" for arm in arms if (told := arm.tags.get("test.opening.reasons")))
    tested = sorted({told for arm in arms if (told := arm.tags.get("test.fingerprint"))})
    return [
        ("Data", "built-in phantom, synthetic" if tags.get("data.kind") == "phantom" else tags.get("data.kind", "?")),
        ("Data fingerprint, training and validation", tags.get("data.fingerprint", "not recorded")),
        ("Data fingerprint, test", ", ".join(tested) or "not recorded"),
        *((f"Split {name}, SHA-256", digest) for name, digest in _splits(arms).items()),
        ("Test openings by arm", openings or "none"),
        ("Reasons of the openings", reasons or "not recorded"),
        ("Trials", endings(trials) or "none"),
        ("Trial hours", tables.number(hours(trials))),
        *((("Retraining hours", tables.number(hours(again))),) if again else ()),
        ("Seed of the study", tags.get("seed", "not recorded")),
        *((("Seeds of the retrainings", ", ".join(map(str, seeds))),) if again else ()),
        ("Commit", tags.get("git.commit", "not recorded")),
        ("Started", f"{study.started:%Y-%m-%d %H:%M} UTC"),
        ("Minutes from the first run's start to the last end", tables.number(study.minutes, 1)),
        ("Machine of the driver", _tagged(tags, "machine") or "not recorded"),
        ("Nodes", tags.get("nodes", "not recorded")),
        ("Versions", _tagged(tags, "version") or "not recorded"),
        ("Registered models", ", ".join(f"jointnet-{arm}" for arm in dict.fromkeys(arm.arm for arm in arms)) or "none"),
    ]


def _splits(arms: tuple[ArmRecord, ...]) -> Mapping[str, str]:
    """Return the hash of every split by its patient counts and fold."""
    found = {}
    for arm in arms:
        name = f"{arm.train}/{arm.validation}/{arm.test}" + (f", fold {arm.fold}" if arm.folds > 1 else "")
        found[name] = arm.tags.get("split.sha256", "not recorded")
    return found


def _tagged(tags: Mapping[str, str], kind: str) -> str:
    return ", ".join(f"{name.partition('.')[2]} {tags[name]}" for name in sorted(tags) if name.startswith(f"{kind}."))


def _name(arm: ArmRecord) -> str:
    return f"{arm.arm} fold {arm.fold}" if arm.folds > 1 else arm.arm
