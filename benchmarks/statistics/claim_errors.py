"""How often the report's verdicts on its two claims are wrong, and how often they find what is there.

    python benchmarks/statistics/claim_errors.py [--studies 400] [--seed 0] [--jobs 2] [--out FILE]

Simulates nested studies (`--folds`, `--seeds`) whose claim is false at its boundary and judges each with the report's
own code: for (a), joint with few patients, the true difference is the margin, given or half of the true gain; for (b)
it is 0. `wrong` is the share of studies with the verdict `supported`, with its Monte Carlo standard error; `patients`
is what the interval over patients alone would have said, which takes the trained models as given. `finds` is the share
supported where the joint model's true error is lower by the scenario's effects. Differences are of the LV centres, in
mm.

The error of patient i registered by an arm's model of fold k is the sum of normal parts with these standard deviations
in the scenarios `realistic` and `matched`:

    patient    1.3  0.175  of the patient in this model, the same for both sizes of the stand-alone one
    residual   0.7  0.31   of the patient with this training set
    training   0.4  0.06   of the training set where it has 5 patients, falling as 1 / sqrt(patients)
    seed       0.2  0.107  of a training's seed, averaged over the retrainings

`standalone` multiplies the last three in the stand-alone model. What both models share cancels in every difference and
is left out. A training set's part is the sum of contributions of its patients, so that folds that share patients have
the largest correlation there can be.

`realistic` are the models of commit a8db534 at their default settings, which differ by more than the question. On real
pairs (the same 8 test patients, disjoint training sets, 1 or 2 seeds) the difference between them had a standard
deviation of 1.9 mm between patients and 0.9 mm between trainings of a patient. Between training sets the stand-alone
model's mean had 0.6 mm (three sets of 2 patients) and 0.5 mm (three of 5), the joint model's below 0.1 mm; between
seeds 0.1 mm. Its gain from more patients is set to 1 mm.

`matched` are the arms of `search_spaces/matched.toml` in the nested study of docs/explanation/results.md, 25 real
pairs with five folds and three seeds. Between patients, joint-2 minus standalone-2 had 0.38 mm, joint-2 minus joint-15
0.36 mm, and standalone-2 minus standalone-15, whose mean is the gain of 0.02 mm, 0.06 mm. A fold's mean had 0.107 mm
between the seeds of joint-2 and 0.027 mm between those of standalone-2. Between training sets of 2 patients no variance
was found in joint-2 minus standalone-2, and 0.13 mm in joint-2 minus joint-15; 0.06 mm is 0.09 mm with 2 patients.
"""

import argparse
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from study.plan.splits import Split, make_folds
from study.report.statistics.claim_arms import ClaimArm, ClaimArms
from study.report.statistics.claim_result import SUPPORTED, ClaimResult
from study.report.statistics.claims import LV_CD, MARGIN_SHARE, non_inferiority, superiority
from study.report.statistics.trainings import trainings_of
from study.report.store.slice_rows import PATIENT_COLUMNS
from study.search.file.split_counts import parse_counts

JOINT, SMALL, LARGE = "joint-small", "standalone-small", "standalone-large"
GAIN_MM = 1.0
"""The stand-alone model's true gain from more training patients, unless a scenario has its own."""

ERROR_MM = 5.0
"""The stand-alone model's error with many training patients. It cancels in every difference."""

EFFECTS_MM = (1.0, 2.0)
POWER_EVERY = 8
"""One study in so many is also judged with each of these effects, or the scenario's own."""

VALIDATION = 4

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Scenario:
    """A nested study and the variation in it; standard deviations, gain and effects in mm, as in the module's text.

    Attributes:
        small, large: numbers of training patients.
        standalone: size of the stand-alone model's residual, training and seed parts relative to the joint model's.
        gain: the stand-alone model's true gain from more training patients.
        effects: by how much the joint model is truly better where the power is measured.
        additive: share of the training set's variance that is a sum over its patients; folds share none of the rest.
        teacher: correlation between a patient's difficulty and what the patient contributes to a training.
        skewed: whether patients differ by a gamma distribution with skewness 1.4 instead of a normal one.
    """

    name: str
    patients: int = 25
    small: int = 5
    large: int = 15
    folds: int = 5
    seeds: int = 3
    patient: float = 1.3
    residual: float = 0.7
    training: float = 0.4
    seed: float = 0.2
    standalone: float = 1.0
    gain: float = GAIN_MM
    effects: tuple[float, ...] = EFFECTS_MM
    additive: float = 1.0
    teacher: float = 0.0
    skewed: bool = False


MATCHED = Scenario(
    "matched",
    small=2,
    patient=0.175,
    residual=0.31,
    training=0.06,
    seed=0.107,
    standalone=0.15,
    gain=0.02,
    effects=(0.2, 0.4, 1.0),
)

SCENARIOS = (
    Scenario("realistic", small=2),
    Scenario("realistic"),
    Scenario("realistic", seeds=1),
    Scenario("realistic", patients=45, small=5, large=15),
    Scenario("realistic", patients=45, small=15, large=25),
    Scenario("realistic", patients=45, small=15, large=25, seeds=1),
    Scenario("realistic", folds=3, large=12),
    Scenario("training sets x 2", training=0.8),
    Scenario("training sets x 2", patients=45, small=15, large=25, training=0.8),
    Scenario("seeds x 3", seeds=1, seed=0.6),
    Scenario("skewed patients", skewed=True),
    Scenario("hard patients teach", teacher=0.3),
    Scenario("hard patients teach, x 2", teacher=0.3, training=0.8),
    Scenario("hard patients teach, x 4", patients=45, small=15, large=25, teacher=0.5, training=1.6),
    MATCHED,
    replace(MATCHED, patients=45),
)


@dataclass(frozen=True)
class Design:
    """The splits of a scenario.

    Attributes:
        sets: by arm, whether a fold (row) trains on a patient (column), as 0 or 1.
        fold_of: the fold, from 0, in which each patient is tested.
        frame: an arm's patients as the report has them, without values.
    """

    arms: ClaimArms
    sets: dict[str, np.ndarray]
    fold_of: np.ndarray
    frame: pd.DataFrame


def design_of(scenario: Scenario) -> Design:
    """Return the splits that `study.run` would make."""
    names = [str(number) for number in range(scenario.patients)]
    counts = parse_counts([f"{train}/{VALIDATION}" for train in (scenario.small, scenario.large)], test_optional=True)
    folds = make_folds(names, scenario.folds, counts, seed=0)
    fold_of = np.empty(scenario.patients, dtype=int)
    for fold, (split, _) in enumerate(folds):
        fold_of[np.isin(names, split.test)] = fold
    by_size: tuple[tuple[Split, ...], ...] = tuple(zip(*folds, strict=True))
    parts = {JOINT: by_size[0], SMALL: by_size[0], LARGE: by_size[1]}
    member = {
        arm: np.array([np.isin(names, split.train) for split in splits], dtype=float) for arm, splits in parts.items()
    }
    trainings = {
        arm: trainings_of([frozenset(split.train) for split in splits], scenario.seeds) for arm, splits in parts.items()
    }
    columns = {
        "patient": names,
        "fold": fold_of + 1,
        "metric": LV_CD[0],
        "structure": LV_CD[1],
        "before": ERROR_MM,
        "after": np.nan,
        "after_seed_sd": np.nan,
        "slices": 8,
        "lost": 0,
    }
    frame = pd.DataFrame(columns, columns=PATIENT_COLUMNS)
    arms = ClaimArms(
        ClaimArm(JOINT, "joint", "joint", scenario.small, VALIDATION),
        ClaimArm(SMALL, "standalone", "standalone", scenario.small, VALIDATION),
        ClaimArm(LARGE, "standalone", "standalone", scenario.large, VALIDATION),
        trainings,
    )
    return Design(arms, member, fold_of, frame)


def errors(scenario: Scenario, design: Design, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the error of each patient by arm, in mm, without the arms' means."""
    models = {"joint": (JOINT,), "standalone": (SMALL, LARGE)}
    found = {}
    for model_name, arms in models.items():
        relative = scenario.standalone if model_name == "standalone" else 1.0
        own = _standard(scenario, random)
        taught = scenario.teacher * own + np.sqrt(1 - scenario.teacher**2) * random.standard_normal(scenario.patients)
        for arm in arms:
            member = design.sets[arm]
            size = member[0].sum()
            additive = np.sqrt(scenario.additive) * (member @ taught) / np.sqrt(size)
            alone = np.sqrt(1 - scenario.additive) * random.standard_normal(scenario.folds)
            model = scenario.training * np.sqrt(5 / size) * (additive + alone)
            model += scenario.seed * random.standard_normal((scenario.seeds, scenario.folds)).mean(axis=0)
            residual = scenario.residual * random.standard_normal(scenario.patients)
            found[arm] = scenario.patient * own + relative * model[design.fold_of] + relative * residual
    return found


def _standard(scenario: Scenario, random: np.random.Generator) -> np.ndarray:
    """Return one value per patient with mean 0 and SD 1."""
    if scenario.skewed:
        return (random.gamma(2.0, size=scenario.patients) - 2) / np.sqrt(2)
    return random.standard_normal(scenario.patients)


def judged(
    design: Design, drawn: dict[str, np.ndarray], better_mm: float, gain_mm: float = GAIN_MM
) -> dict[str, ClaimResult]:
    """Return the report's results of a study in which the joint model is better by this much than at the boundary."""
    margin_mm = MARGIN_SHARE * gain_mm
    small, large = (_frame(design, ERROR_MM + mean + drawn[arm]) for arm, mean in ((SMALL, gain_mm), (LARGE, 0.0)))
    at_margin, at_zero = (_frame(design, ERROR_MM + mean - better_mm + drawn[JOINT]) for mean in (margin_mm, gain_mm))
    frames, only = {JOINT: at_margin, SMALL: small, LARGE: large}, (LV_CD,)
    return {
        "(a), margin given": non_inferiority(frames, design.arms, {LV_CD: margin_mm}, endpoints=only)[0],
        "(a), margin estimated": non_inferiority(frames, design.arms, endpoints=only)[0],
        "(b)": superiority({JOINT: at_zero, SMALL: small}, design.arms, endpoints=only)[0],
    }


def _frame(design: Design, after: np.ndarray) -> pd.DataFrame:
    """Return an arm's patients as the report has them."""
    return design.frame.assign(after=after)


def shares(studies: Sequence[Mapping[Key, bool]]) -> dict[Key, float]:
    """Return the share of studies in which each key is true."""
    return {key: float(np.mean([each[key] for each in studies])) for key in studies[0]}


def simulate(scenario: Scenario, studies: int, seed: int) -> list[dict[str, object]]:
    """Return a line per claim."""
    random, design = np.random.default_rng(seed), design_of(scenario)
    wrong: list[dict[str, bool]] = []
    alone: list[dict[str, bool]] = []
    found: list[dict[tuple[str, float], bool]] = []
    for number in range(studies):
        drawn = errors(scenario, design, random)
        at = judged(design, drawn, 0.0, scenario.gain)
        wrong.append({name: one.verdict == SUPPORTED for name, one in at.items()})
        alone.append({name: one.contrast.test.high < 0 for name, one in at.items()})
        if number % POWER_EVERY == 0:
            found.append(
                {
                    (name, effect): one.verdict == SUPPORTED
                    for effect in scenario.effects
                    for name, one in judged(design, drawn, effect, scenario.gain).items()
                }
            )
    by_patients, powers = shares(alone), shares(found)
    return [
        {
            "scenario": scenario.name,
            "patients": scenario.patients,
            "folds": scenario.folds,
            "seeds": scenario.seeds,
            "training": f"{scenario.small}, {scenario.large}",
            "claim": claim,
            "wrong %": f"{100 * share:.1f} ({100 * np.sqrt(share * (1 - share) / studies):.1f})",
            "patients %": f"{100 * by_patients[claim]:.1f}",
            **{f"finds {effect:g} mm %": f"{100 * powers[claim, effect]:.0f}" for effect in scenario.effects},
        }
        for claim, share in shares(wrong).items()
    ]


def table(studies: int, seed: int, jobs: int, scenarios: Sequence[Scenario] = SCENARIOS) -> pd.DataFrame:
    """Return the lines of all scenarios."""
    with ProcessPoolExecutor(jobs) as pool:
        parts: Iterator[list[dict[str, object]]] = pool.map(
            simulate, scenarios, [studies] * len(scenarios), range(seed, seed + len(scenarios))
        )
        return pd.DataFrame([line for part in parts for line in part])


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400, help="studies of each scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="CSV file")
    options = parser.parse_args()
    found = table(options.studies, options.seed, options.jobs)
    print(found.to_string(index=False, na_rep=""))
    if options.out:
        found.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
