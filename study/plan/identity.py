"""Identity of a study. A command with the same specification continues the same study.

The identity is everything that determines a result: searches, settings, splits, folds, data, seed, device and the
endpoints of the objective. It also has the margins of the claims, which must not change once results are known. It does
not have the search budget (`--num-samples`, `--minutes`), the number of retraining seeds (`--seeds`), the number of
concurrent trials and the explanatory texts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jointnet.errors import SettingsError, short_repr
from study.plan.plan import Plan, specification
from study.store_names import is_plain_name

SPECIFICATION_FILE = "specification.json"
"""File in the folder of every study."""
LONGEST_VALUE = 80
DEFAULT_SEARCH: Mapping[str, Any] = {"sampler": "tpe", "options": {}, "scheduler": "asha"}
FIRST_ENDPOINTS = ("cd_mm/lv", "asd_mm/lv", "asd_mm/myo", "cd_mm/rv", "asd_mm/rv")
"""The endpoints of studies whose specification does not name them. They are left out of the digest, which stays."""


def identity(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a specification that identifies the study, by dotted keys."""
    kept = {key: content[key] for key in ("objective", "seed", "data", "splits")}
    kept["endpoints"] = list(content.get("endpoints", FIRST_ENDPOINTS))
    kept |= {"code": content["code"]} if content.get("code") else {}
    kept["device"] = content["resources"]["device"]
    kept["arms"] = list(dict.fromkeys(arm["arm"] for arm in content["arms"]))
    kept |= {key: content["design"][key] for key in ("folds", "same_validation")}
    searches = {}
    for search in content["searches"]:
        own = {key: search[key] for key in ("settings", "fidelity", "claim")}
        own["models"] = list(search["methods"] if "methods" in search else search["models"])
        own["parameters"] = {name: _parameter(parameter) for name, parameter in search["parameters"].items()}
        own |= _search(search)
        searches[search["name"]] = own
    return _flat("", {**kept, "search": searches})


def _search(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the samples of a search are drawn, without what is so by default, so that digests stay.

    In older specifications the first trial had the settings themselves only if they said `settings_first`.
    """
    if "search" not in content:
        return {"settings_first": True} if content.get("settings_first") else {}
    stated = content["search"]
    own = {key: stated[key] for key, default in DEFAULT_SEARCH.items() if stated[key] != default}
    if stated.get("warm_start"):
        own["warm_start"] = stated["warm_start"].rpartition("/")[2]
    seeds = [{}] if stated["seed_trials"] is None else list(stated["seed_trials"])
    if seeds not in ([{}], []):
        own["seed_trials"] = seeds
    elif content["parameters"] and seeds:
        own["settings_first"] = True
    return own


def _parameter(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter without its reason. Its methods have the key of older specifications, so that digests stay."""
    names = {"methods": "models"}
    return {names.get(key, key): value for key, value in content.items() if key != "why"}


def digest(content: Mapping[str, Any]) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 digest of a specification's identity."""
    identifying = identity(content)
    if identifying["endpoints"] == list(FIRST_ENDPOINTS):
        del identifying["endpoints"]
    plain = json.dumps(identifying, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


def differences(original: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Return an error for each difference between the original specification of a study and the requested one."""
    old, new = identity(original), identity(requested)
    return [
        f"{key}: must be {_value_text(old.get(key))} as when the study began, got {_value_text(new.get(key))}"
        for key in sorted(set(old) | set(new))
        if old.get(key) != new.get(key)
    ]


def with_identity(plan: Plan, *, new: bool = False, study: str | None = None) -> Plan:
    """Return the plan with a study id: that of the study it continues, or a new one.

    The number of retraining seeds is never less than in the original specification, because retrained models stay.

    Args:
        plan: the requested plan, without an id.
        new: whether to start a new study even where one with the same specification exists.
        study: id of the study to continue.

    Raises:
        SettingsError: `study` is no study of the output folder, or it has another specification; one error for
            each difference.
    """
    requested = json.loads(json.dumps(specification(plan)))
    if study is not None:
        original = specification_of(plan.out / study) if is_plain_name(study) else None
        if original is None:
            studies = sorted(path.parent.name for path in plan.out.glob(f"*/{SPECIFICATION_FILE}"))
            raise SettingsError(
                f"--study: must be one of {', '.join(studies) or '(none)'} in {plan.out}, got {short_repr(study)}"
            )
        if changed := differences(original, requested):
            raise SettingsError(f"--study {study}: {line}" for line in changed)
        return _continued(plan, study, original)
    own = digest(requested)
    for folder in sorted(plan.out.glob(f"*-{own}"), reverse=True):
        original = specification_of(folder)
        if not new and original is not None and not differences(original, requested):
            return _continued(plan, folder.name, original)
    return replace(plan, study_id=f"{plan.started:%Y%m%d-%H%M%S}-{own}", continues=False)


def _continued(plan: Plan, study_id: str, original: Mapping[str, Any]) -> Plan:
    seeds = max(plan.design.seeds, int(original["design"]["seeds"]))
    return replace(plan, study_id=study_id, continues=True, design=replace(plan.design, seeds=seeds))


def specification_of(folder: Path) -> dict[str, Any] | None:
    """Read the original specification of a study; None where the folder holds no study."""
    try:
        content = json.loads((folder / SPECIFICATION_FILE).read_text(encoding="utf-8"))
        identity(content)
        return dict(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, part in value.items():
        flat |= _flat(f"{prefix}.{key}" if prefix else str(key), part)
    return flat


def _value_text(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
