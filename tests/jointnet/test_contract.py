"""The contract of networks: what breaks it is named, and the documentation's example keeps it."""

from pathlib import Path

import pytest
from scans import tiny_settings

from jointnet import own_code
from jointnet.contract.__main__ import main
from jointnet.contract.checks import CHECKS, BrokenContractError, variants
from jointnet.settings import with_values

EXAMPLE = f"{Path(__file__).parents[2] / 'docs/how-to/own_model.py'}:MODEL"
BROKEN = """
import torch
from torch import nn
from jointnet.models import Model
from jointnet.networks import Output, StandaloneModel
from jointnet.geometry import identity


class Net(StandaloneModel):
    def __init__(self, settings):
        super().__init__(settings)
        self.own = {own}

    def forward(self, cine, lge):
        theta = super().forward(cine, lge).theta
        return {output}


MODEL = Model("broken", title="Broken", short_title="Broken", segments={segments}, network=Net)
"""


def broken(folder: Path, output: str, own: str = "None", segments: bool = False):
    """Return tiny settings of a stand-alone model of which something was changed."""
    path = folder / "broken.py"
    path.write_text(BROKEN.format(own=own, output=output, segments=segments))
    return tiny_settings(model__name=f"{path}:MODEL")


@pytest.mark.parametrize(
    ("words", "change", "error"),
    [
        ("has the shapes and types", {"output": "theta"}, "must return an Output, got Tensor"),
        ("has the shapes and types", {"output": "Output(theta[:, :1])"}, r"shape \(3, 2, 3\), got \(3, 1, 3\)"),
        ("has the shapes and types", {"output": "Output(theta.double())"}, "float32, got torch.float64"),
        ("has the shapes and types", {"output": "Output(theta)", "segments": True}, "cine_logits must be scores"),
        ("has the shapes and types", {"output": "Output(theta, cine, lge)"}, "cine_logits must be None"),
        ("starts at the identity", {"output": "Output(theta + 0.01)"}, "before training, got 0.01 away"),
        (
            "segments its structures only",
            {"output": "Output(theta, cine.expand(-1, 4, -1, -1), lge.expand(-1, 4, -1, -1))", "segments": True},
            "must have the probability 0, got 0.25",
        ),
        ("keeps slices apart", {"output": "Output(theta.cumsum(0))"}, "a slice alone must be as in a batch"),
        (
            "keeps no statistics",
            {"own": "nn.BatchNorm2d(1)", "output": "Output(theta + 0 * self.own(cine).mean())"},
            "changes of own.running_mean",
        ),
        ("stays within the limits", {"output": "Output(identity(len(theta)) + 9 * (theta - identity(1)))"}, "at most"),
        ("trains all its weights", {"own": "nn.Linear(2, 2)", "output": "Output(theta)"}, "got none in own.weight"),
        ("computes in 16 bits", {"output": "Output(theta.to(torch.get_autocast_dtype('cpu')))"}, "got torch.bfloat16"),
        ("learns", {"output": "Output(2 * identity(len(theta)) - theta.detach() + 0 * theta)"}, "must lower the loss"),
        (
            "is restored from a file",
            {"own": "nn.Parameter(torch.tensor(float(id(self) % 997)))", "output": "Output(theta)"},
            "the same seed must give the same weights",
        ),
    ],
)
def test_a_network_that_breaks_the_contract_is_told_how(tmp_path, words, change, error):
    settings = broken(tmp_path, **change)
    if words == "segments its structures only":
        settings = with_values(settings, {"model.structures": ["lv", "myo"]})
    with pytest.raises(BrokenContractError, match=error):
        CHECKS[words](settings)


def test_the_variants_of_a_model_that_segments_have_neighbours_and_lack_a_structure():
    found = variants(tiny_settings())
    assert [(each.model.neighbours, len(each.model.structures)) for each in found.values()] == [(0, 3), (1, 3), (0, 2)]
    assert len(variants(tiny_settings(model__name="standalone"))) == 2


def test_the_command_prints_a_line_for_each_check_of_the_example(tmp_path, capsys):
    settings = tmp_path / "tiny.toml"
    settings.write_text("[model]\nwidths = [4, 4]\n[training]\ndownsampling = 4\n")
    assert main([EXAMPLE, "--settings", str(settings)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines[:-1]] == [f"passed  {words}" for words in CHECKS]
    assert lines[-1] == f"{EXAMPLE}: {len(CHECKS)} of {len(CHECKS)} checks passed"


def test_the_command_fails_where_a_check_does_and_where_there_is_no_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jointnet.contract.command.CHECKS", {"learns": CHECKS["learns"]})
    settings = tmp_path / "tiny.toml"
    settings.write_text("[model]\nwidths = [4, 4]\n[training]\ndownsampling = 4\n")
    name = broken(tmp_path, "1 / 0").model.name
    assert main([name, "--settings", str(settings)]) == 1
    told = capsys.readouterr()
    assert told.out == "FAILED  learns: ZeroDivisionError: division by zero\n"
    assert told.err == f"{name}: 0 of 1 checks passed\n"
    own_code._RUN.clear()
    assert main([str(tmp_path / "absent.py:MODEL")]) == 2
    assert "must be a file that can be read" in capsys.readouterr().err
