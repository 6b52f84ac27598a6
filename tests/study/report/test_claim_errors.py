"""The simulation of claims that are false at their boundary: its variances, and that it judges by the report's code."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "statistics" / "claim_errors.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The benchmark as a module."""
    specification = importlib.util.spec_from_file_location("claim_errors", FILE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["claim_errors"] = module  # its dataclasses look it up
    specification.loader.exec_module(module)
    return module


def test_the_parts_have_the_stated_sizes(simulation: ModuleType) -> None:
    only = simulation.Scenario("", patient=0.0, residual=0.0, training=0.0, seed=0.0)
    design = simulation.design_of(only)
    assert design.arms.trainings["standalone-large"].shared == pytest.approx(0.5)
    assert design.arms.trainings["joint-small"].shared == 0

    def spread(studies: int = 4000, **parts: float) -> dict[str, float]:
        """Return the SD over many studies of patient 0's error in each arm."""
        random = np.random.default_rng(0)
        drawn = [simulation.errors(replace(only, **parts), design, random) for _ in range(studies)]
        return {arm: float(np.std([one[arm][0] for one in drawn])) for arm in drawn[0]}

    assert spread(patient=1.3) == pytest.approx(dict.fromkeys(design.sets, 1.3), rel=0.05)
    assert spread(residual=0.5) == pytest.approx(dict.fromkeys(design.sets, 0.5), rel=0.05)
    assert spread(seed=0.3)["joint-small"] == pytest.approx(0.3 / np.sqrt(3), rel=0.05)
    for part in ("residual", "training", "seed"):
        whole, tenth = spread(40, **{part: 0.5}), spread(40, **{part: 0.5, "standalone": 0.1})
        assert tenth["joint-small"] == whole["joint-small"]
        assert tenth["standalone-small"] == pytest.approx(0.1 * whole["standalone-small"])
    for additive in (0.0, 1.0):
        found = spread(training=0.4, additive=additive)
        assert found["joint-small"] == pytest.approx(0.4, rel=0.05)
        assert found["standalone-large"] == pytest.approx(0.4 / np.sqrt(3), rel=0.05)


def test_the_studies_lie_at_the_boundary(simulation: ModuleType) -> None:
    scenario = simulation.Scenario("", seeds=1)
    design = simulation.design_of(scenario)
    zero = {arm: np.linspace(-0.1, 0.1, 25) ** power for power, arm in enumerate(design.sets, start=1)}
    for name, one in simulation.judged(design, zero, 0.0).items():
        assert one.contrast.deciding.scope == "method"
        assert one.contrast.test.difference == pytest.approx(0, abs=0.01), name
    assert {one.verdict for one in simulation.judged(design, zero, 1.0).values()} == {"supported"}
    small = {arm: 0.01 * values for arm, values in zero.items()}
    for name, one in simulation.judged(design, small, 0.0, gain_mm=0.02).items():
        assert one.contrast.test.difference == pytest.approx(0, abs=1e-4), name
    assert simulation.judged(design, small, 0.0, gain_mm=0.02)["(a), margin estimated"].margin_mm == pytest.approx(
        0.01, rel=0.01
    )


def test_a_line_per_claim_that_the_seed_repeats(simulation: ModuleType) -> None:
    first, again = (simulation.simulate(simulation.SCENARIOS[0], 8, seed=1) for _ in range(2))
    assert first == again
    assert [line["claim"] for line in first] == ["(a), margin given", "(a), margin estimated", "(b)"]
    assert set(first[0]) >= {"wrong %", "patients %", "finds 1 mm %", "finds 2 mm %"}
    own = simulation.simulate(simulation.MATCHED, 1, seed=1)
    assert [name for name in own[0] if name.startswith("finds")] == ["finds 0.2 mm %", "finds 0.4 mm %", "finds 1 mm %"]
