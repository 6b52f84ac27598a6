"""The registry of models against the networks themselves."""

import subprocess
import sys

import pytest
import torch

from jointnet.models import MODELS
from jointnet.networks import build_model
from jointnet.settings import Settings, with_values


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_builds_its_network_and_says_what_that_does(name: str):
    model = build_model(with_values(Settings(), {"model.name": name, "model.widths": [4, 8]}))
    assert type(model) is MODELS[name].network_class()
    image = torch.zeros(1, 1, 112, 112)
    assert (model(image, image).cine_logits is not None) == MODELS[name].segments


def test_neither_the_models_nor_the_settings_load_torch():
    code = "import sys, jointnet.models, jointnet.settings; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
