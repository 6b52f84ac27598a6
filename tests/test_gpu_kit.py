"""The kit that checks a GPU, on the CPU in small."""

import argparse
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from scans import easy_patients

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
from sections import Ran, read_figures, run_sections
from timing import Figure


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return easy_patients(tmp_path_factory.mktemp("kit"), gpu.ON_CPU.patients)


@pytest.fixture
def figures_of(patients, monkeypatch, tmp_path):
    """A function that runs a section in this process and returns its figures."""
    monkeypatch.setattr(gpu, "phantom_patients", lambda count: patients[:count])

    def run(section: str) -> list[Figure]:
        file = tmp_path / section
        assert gpu.main(["--device", "cpu", "--sections", section, "--figures", str(file)]) == 0
        return read_figures(file)

    return run


def report(ran: list[Ran], out: Path | None = None) -> int:
    options = argparse.Namespace(minutes=1.0, out=out, compare=None)
    return gpu.report(ran, options, torch.device("cpu"))


def test_a_cpu_equals_itself_in_32_bits_and_nearly_in_16(figures_of, tmp_path):
    figures = figures_of("parity")
    assert len(figures) == 2 + len(gpu.TRAINED) * len(gpu.BITS) * len(gpu.MEASURES)
    medians = {figure.name: figure.median for figure in figures}
    assert all(value == 0 for name, value in medians.items() if "16" not in name)
    for model in gpu.TRAINED:
        for bits in ("bf16", "fp16"):
            assert (
                medians[f"{model} {bits}: losses of a step"] > 0 and medians[f"{model} {bits}: gradient of a step"] > 0
            )
    assert report([Ran("parity", figures, 1.0)], tmp_path / "gpu.json") == 0
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["settings"]["sections"] == {"parity": "done"}
    assert {each["name"]: each["median"] for each in written["figures"]} == medians


def test_a_device_that_computes_otherwise_gives_exit_status_1(figures_of, monkeypatch, capsys):
    real = gpu.train_epoch

    def otherwise(learner, *rest):
        if learner.precision is torch.float16:
            learner.model.eval().register_forward_hook(lambda *_: _[2]._replace(theta=1.1 * _[2].theta))
        return real(learner, *rest)

    monkeypatch.setattr(gpu, "train_epoch", otherwise)
    monkeypatch.setattr(gpu, "TRAINED", ("standalone",))
    monkeypatch.setattr(gpu, "BITS", {torch.float16: "fp16"})
    assert report([Ran("parity", figures_of("parity"), 1.0)]) == 1
    assert "parity is missed: standalone fp16: losses of a step, standalone fp16: " in capsys.readouterr().out


def test_the_other_sections_measure_both_models(figures_of):
    figures = [figure for section in ("waits", "speed", "predict") for figure in figures_of(section)]
    assert all(math.isfinite(figure.median) and figure.median > 0 for figure in figures)
    names = {figure.name for figure in figures}
    for model in gpu.TRAINED:
        (reads,) = (figure for figure in figures if figure.name == f"{model}: aten::_local_scalar_dense")
        assert reads.median >= 1
        assert {f"{model}, 56 px, batch 2: {what}" for what in ("step", "share of the peak")} < names
        assert f"{model}: prediction of 2 slices" in names


def test_without_the_gpu_nothing_is_measured(capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--device", "cuda:99"])
    assert "--device: must be auto or a device of this machine, got 'cuda:99'" in capsys.readouterr().err


MET, MISSED, UNKNOWN = (Figure("loss", (value,), "", most=1.0) for value in (0.5, 2.0, math.nan))


@pytest.mark.parametrize(
    ("ran", "status"),
    [
        (Ran("parity", [MET], 1.0), 0),
        (Ran("parity", [MET, MISSED], 1.0), 1),
        (Ran("parity", [UNKNOWN], 1.0), 1),
        (Ran("parity", [MET], 1.0, "out of time after 1 s", late=True), 1),
        (Ran("speed", [MISSED], 1.0), 0),
        (Ran("speed", [MET], 1.0, "out of time after 1 s", late=True), 0),
        (Ran("speed", [MET], 1.0, "status 1: CUDA error"), 1),
    ],
)
def test_only_the_parity_must_be_met_and_every_section_must_work(ran: Ran, status: int, capsys):
    assert report([ran]) == status
    assert ("failed: " in capsys.readouterr().out) == (bool(ran.error) and bool(status))


def test_a_section_that_fails_or_hangs_leaves_its_figures_and_the_others_go_on():
    line = json.dumps({"name": "a", "values": [1.0], "unit": "", "most": None, "least": None})
    wrote = f"import sys, time; open(sys.argv[-1], 'w').write({line!r} + chr(10) + '{{'); "
    commands = {"fails": wrote + "sys.exit('no memory')", "hangs": wrote + "time.sleep(600)", "works": wrote}
    limits = {"fails": 1.0, "hangs": 0.02, "works": 1.0}
    ran = run_sections({name: ([sys.executable, "-c", code], limits[name]) for name, code in commands.items()}, 150)
    assert [(each.name, each.error, each.late) for each in ran] == [
        ("fails", "status 1: no memory", False),
        ("hangs", "out of time after 3 s", True),
        ("works", "", False),
    ]
    assert [[figure.name for figure in each.figures] for each in (ran[0], ran[2])] == [["a"], ["a"]]
