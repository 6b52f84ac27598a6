"""The registry of models against the networks themselves."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scans import stir, tiny_settings

from jointnet.models import MODELS
from jointnet.networks import build_model
from jointnet.networks.apply import predict
from jointnet.settings import Settings, with_values
from jointnet.settings.parsing import flat_settings


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_builds_its_network_and_says_what_that_does(name: str):
    model = build_model(with_values(Settings(), {"model.name": name, "model.widths": [4, 8]}))
    assert MODELS[name].network == f"{type(model).__module__}:{type(model).__name__}"
    assert MODELS[name].name == name
    image = torch.zeros(1, 1, 112, 112)
    assert (model(image, image).cine_logits is not None) == MODELS[name].segments


NUMBERS = {
    "model.stem": 1,
    "model.neighbours": 1,
    "model.hidden": 9,
    "model.negative_slope": 0.5,
    "model.guide_steps": 1,
    "registration.descriptor_weight": 0.5,
    "model.max_rotation_deg": 0.0,
    "model.max_scale": 1.0,
    "model.max_shear": 0.0,
    "model.max_translation_mm": 0.0,
}
"""Another value for each numeric setting of the model and of the stages after it."""


@pytest.mark.parametrize("stages", [("patient", "descriptors"), ("patient", "none"), ("independent", "none")])
@pytest.mark.parametrize("head", ["guided", "fully_connected"])
@pytest.mark.parametrize("name", MODELS)
def test_exactly_the_settings_without_effect_leave_the_model_unchanged(name: str, head: str, stages: tuple[str, str]):
    pooling, refinement = stages
    settings = tiny_settings(
        model__name=name, model__head=head, registration__pooling=pooling, registration__refinement=refinement
    )
    numbers = {key for key, value in flat_settings(settings).items() if type(value) in (int, float)}
    assert set(NUMBERS) == {key for key in numbers if key.startswith(("model.", "registration."))}
    plain = _weights_and_outputs(settings)
    for setting, value in NUMBERS.items():
        changed = _weights_and_outputs(with_values(settings, {setting: value}))
        same = len(plain) == len(changed) and all(map(torch.equal, plain, changed))
        assert same != MODELS[name].has_setting(setting, flat_settings(settings)), setting


def _weights_and_outputs(settings: Settings) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = stir(build_model(settings), 1.0)
    blocks = np.random.default_rng(0).random((3, 2, 28, 28))
    prediction = predict(model, blocks.repeat(8, 2).repeat(8, 3).astype(np.float16))
    outputs = [torch.from_numpy(output) for output in prediction if isinstance(output, np.ndarray)]
    return [*model.state_dict().values(), *outputs]


def test_neither_the_models_nor_the_settings_load_torch():
    code = "import sys, jointnet.models, jointnet.settings; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
