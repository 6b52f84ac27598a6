"""A plan of the shipped searches for 45 patients, without any scans."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from study.plan.identity import with_identity
from study.plan.plan import Data, Design, Plan, Resources, make_arms, make_plan
from study.plan.splits import make_splits
from study.search.file.reading import load_spaces
from study.search.file.split_counts import parse_counts

SPLITS = make_splits(list(map(str, range(1, 46))), parse_counts(["25/15/5", "35/5/5"]), 0)
SINGLE = Design()
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def plan_of(
    *searches: str,
    seed: int = 0,
    kind: str = "phantom",
    device: str = "cpu",
    settings: str | None = None,
    out: Path | None = None,
    design: Design = SINGLE,
) -> Plan:
    """Return a plan of these searches, or of `joint` if none is given."""
    plan = make_plan(
        make_arms(load_spaces(searches or ("joint",), settings), SPLITS),
        data=Data(kind, Path("/data/scans"), 45, "0123456789abcdef"),
        resources=Resources(2, 1.0, 0.0, device),
        seed=seed,
        out=Path("runs"),
        cache=Path("/cache"),
        tracking_uri="sqlite:////store/mlflow.db",
        now=NOON,
        design=design,
    )
    return with_identity(replace(plan, out=(out or Path("/nowhere")).absolute()))
