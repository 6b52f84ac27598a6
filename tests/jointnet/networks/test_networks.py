import math

import pytest
import torch
from scans import stir, tiny_settings

from jointnet.alignment.guide_maps import guide_map
from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.contract.checks import CHECKS
from jointnet.geometry import identity
from jointnet.models import MODELS, TRAINED
from jointnet.networks import build_model
from jointnet.networks.affine_head import coarsest_px, transform_limits
from jointnet.networks.unet import Decoder, Encoder, pixels_from_channels
from jointnet.settings import Settings, load_settings, with_values
from jointnet.structures import CLASS_INDEX, STRUCTURES

VARIANTS = {
    "standalone": {"model.name": "standalone"},
    "standalone neighbours": {"model.name": "standalone", "model.neighbours": 2},
    **{
        f"joint {head} {sharing}": {"model.name": "joint", "model.head": head, "model.sharing": sharing}
        for head in ("fully_connected", "guided")
        for sharing in ("none", "encoder", "network")
    },
    "joint guided neighbours": {"model.name": "joint", "model.neighbours": 1},
    "joint without RV": {"model.name": "joint", "model.structures": ["lv", "myo"]},
    "joint LV only": {"model.name": "joint", "model.structures": ["lv"], "model.head": "fully_connected"},
}
CONTRACT = {name: {"model.name": name} for name in TRAINED} | VARIANTS
"""What the contract tests run on: each model that is trained, a new one too, and the variants of the two here."""
SIZE = 56


@pytest.fixture(params=CONTRACT)
def settings(request):
    return with_values(tiny_settings(), CONTRACT[request.param])


@pytest.fixture(params=VARIANTS)
def own_settings(request):
    """Settings of a variant of the two models here, for tests that read their layers."""
    return with_values(tiny_settings(), VARIANTS[request.param])


def images(settings, count=3, seed=0):
    seen = 1 + 2 * settings.model.neighbours
    return torch.rand(2, count, seen, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def seeded(settings, seed=0):
    torch.manual_seed(seed)
    return build_model(settings)


def stirred(settings):
    return stir(seeded(settings))


def segments(settings):
    return MODELS[settings.model.name].segments


def test_the_settings_name_the_model(settings):
    model = seeded(settings)
    assert MODELS[settings.model.name].network == f"{type(model).__module__}:{type(model).__name__}"
    assert model.settings is settings


@pytest.mark.parametrize("words", CHECKS)
def test_the_contract_is_kept(words, settings):
    """The checks are those that `python -m jointnet.contract` runs on networks of others."""
    CHECKS[words](settings)


def test_training_starts_sure_of_nothing(settings):
    output = seeded(settings)(*images(settings))
    if segments(settings) and len(settings.model.structures) == 3:  # else background makes up for what is absent
        for logits in (output.cine_logits, output.lge_logits):
            assert float(logits.softmax(1).max().detach()) < 0.5


def test_the_weights_of_these_tests_move_something(settings):
    theta = stirred(settings)(*images(settings, 4)).theta
    assert float((theta - identity(4)).abs().max().detach()) > 1e-3


def test_training_and_evaluation_mode_compute_the_same(settings):
    model = stirred(settings)
    torch.testing.assert_close(model.train()(*images(settings)).theta, model.eval()(*images(settings)).theta)


@pytest.mark.parametrize("structures", [("lv",), ("myo",), ("lv", "myo"), ("myo", "rv"), ("lv", "myo", "rv")], ids=str)
def test_a_joint_model_segments_its_structures_only_and_has_no_outputs_for_others(structures):
    model = stirred(tiny_settings(model__structures=structures, model__stem=1))
    assert {decoder.scores.out_channels for decoder in model.decoders} == {1 + len(structures)}
    with torch.autocast("cpu", torch.bfloat16):
        output = model(*images(model.settings))
    absent = [CLASS_INDEX[name] for name in STRUCTURES if name not in structures]
    for logits in (output.cine_logits, output.lge_logits):
        probabilities = logits.float().softmax(1)
        assert logits.shape[1] == 4
        assert (probabilities[:, absent] == 0).all()
        assert (guide_map(logits)[:, [index - 1 for index in absent]] == 0).all()
        assert all(probabilities[:, CLASS_INDEX[name]].max() > 0 for name in structures)
    assert torch.isfinite(output.theta).all()


def test_registration_alone_trains_what_the_settings_say_is_shared(own_settings):
    """The encoders are always trained, the decoders only with the guided head."""
    model = stirred(own_settings)
    (model(*images(own_settings, 2)).theta * torch.tensor([[1.0, -2, 3], [0.5, 1, -2]])).sum().backward()
    reached = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().any()}
    for name, _ in model.named_parameters():
        expected = "decoder" not in name or own_settings.model.head == "guided"
        assert (name in reached) == expected, name


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "standalone" not in name])
def test_segmentation_alone_trains_no_head(variant):
    settings = with_values(tiny_settings(), VARIANTS[variant])
    model = stirred(settings)
    output = model(*images(settings, 2))
    (output.cine_logits.square().sum() + output.lge_logits.square().sum()).backward()
    for name, value in model.named_parameters():
        assert (value.grad is not None and bool(value.grad.abs().any())) == ("head" not in name), name


@pytest.mark.parametrize(
    ("sharing", "common"), [("none", set()), ("encoder", {"encoders"}), ("network", {"encoders", "decoders"})]
)
def test_the_modalities_share_convolutions_as_the_settings_say_and_never_normalisations(sharing, common):
    model = stirred(tiny_settings(model__sharing=sharing))
    reached = []
    for modality in ("cine_logits", "lge_logits"):
        model.zero_grad()
        getattr(model(*images(tiny_settings(), 1)), modality).square().sum().backward()
        reached.append(
            {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().any()}
        )
    cine, lge = reached
    assert cine | lge == {name for name, _ in model.named_parameters()}
    assert {name.split(".")[0] for name in cine & lge} == common
    assert not any("norm" in name for name in cine & lge)
    for part in ("encoders", "decoders"):
        assert len(getattr(model, part)) == (1 if part in common else 2)


@pytest.mark.parametrize("size", [1e3, 1e6])
@pytest.mark.parametrize("limits", [{}, {"model.max_rotation_deg": 5.0, "model.max_translation_mm": 4.0}])
def test_the_motion_stays_within_its_limits_however_large_the_weights(own_settings, size, limits):
    """Singular values are limited by scales and shear, the translation at the centre of rotation by its limit.

    The guided head rotates about the heart's centre, which adds to the translation at the image's centre.
    """
    settings = with_values(own_settings, limits)
    model = stirred(settings)
    guided = segments(settings) and settings.model.head == "guided"
    last = [decoder.scores for decoder in model.decoders] if guided else [model.head.motion]
    with torch.no_grad():
        for layer in last:
            for parameter in layer.parameters():
                parameter.mul_(size)
    theta = model(*images(settings, 4)).theta.detach()
    assert torch.isfinite(theta).all()
    chosen = settings.model
    shear = chosen.max_shear / 2 + math.sqrt(
        1 + chosen.max_shear**2 / 4
    )  # the largest singular value of [[1, s], [0, 1]]
    largest = chosen.max_scale * shear * (1 + 1e-5)
    singular = torch.linalg.svdvals(theta[:, :, :2])
    assert float(singular.max()) <= largest
    assert float(singular.min()) >= 1 / largest
    if not guided:
        assert float(theta[:, :, 2].abs().max()) * HALF_EXTENT_MM <= chosen.max_translation_mm * (1 + 1e-5)
        angle = torch.atan2(theta[:, 1, 0], theta[:, 0, 0]).abs().max()
        assert math.degrees(float(angle)) <= chosen.max_rotation_deg * (1 + 1e-5)


def test_the_motion_limits_are_the_settings_in_the_units_of_a_motion():
    model = with_values(
        Settings(),
        {
            "model.max_rotation_deg": 30.0,
            "model.max_scale": 2.0,
            "model.max_shear": 0.4,
            "model.max_translation_mm": 21.0,
        },
    ).model
    expected = [math.pi / 6, math.log(2), math.log(2), 0.4, 0.25, 0.25]
    torch.testing.assert_close(transform_limits(model), torch.tensor(expected))


def test_weights_survive_a_round_trip(settings, tmp_path):
    model, other = stirred(settings), seeded(settings, seed=9)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    torch.testing.assert_close(model(*images(settings)).theta, other(*images(settings)).theta, atol=0, rtol=0)


def test_the_same_seed_builds_the_same_model(settings):
    for one, other in zip(seeded(settings).parameters(), seeded(settings).parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_uniform_images_give_finite_outputs(settings):
    for part in stirred(settings)(*torch.zeros_like(images(settings, 2)))[:3]:
        assert part is None or torch.isfinite(part).all()


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_units_of_the_dense_layer_that_are_off_for_all_images_learn_only_with_a_slope(slope: float):
    settings = tiny_settings(model__name="standalone", model__negative_slope=slope)
    model = stirred(settings)
    with torch.no_grad():
        model.head.hidden.bias.fill_(-100.0)
    theta = model(*images(settings, 4)).theta
    theta.square().sum().backward()
    learns = slope > 0
    assert (float(theta.std(0).max().detach()) > 1e-6) == learns
    assert (float(model.head.hidden.weight.grad.abs().max()) > 0) == learns


@pytest.mark.parametrize("name", ["default", "paper"])
@pytest.mark.parametrize("model", MODELS)
def test_the_shipped_settings_build(name, model):
    settings = with_values(load_settings(name), {"model.name": model})
    size = 224 // settings.training.downsampling
    with torch.inference_mode():
        blank = torch.zeros(1, 1 + 2 * settings.model.neighbours, size, size)
        output = build_model(settings)(blank, blank)
    torch.testing.assert_close(output.theta, identity(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("widths", "stem", "image_px"), [((4, 8, 8), 2, 56), ((4, 8), 1, 8), ((4, 4, 4, 4), 1, 112), ((6, 10, 7), 4, 64)]
)
def test_an_encoder_halves_at_every_level_and_a_decoder_comes_back(widths, stem, image_px):
    torch.manual_seed(0)
    image = torch.rand(2, 3, image_px, image_px)
    features = Encoder(3, widths, stem)(image)
    sides = [image_px // stem // 2**level for level in range(len(widths))]
    assert [tuple(part.shape) for part in features] == [
        (2, width, side, side) for width, side in zip(widths, sides, strict=True)
    ]
    chosen = with_values(Settings(), {"training.downsampling": 1}).model
    assert coarsest_px(type(chosen)(widths=widths, stem=stem), image_px) == sides[-1]
    assert Decoder(widths, 5, stem)(features).shape == (2, 5, image_px, image_px)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_pixels_are_unfolded_as_torch_shuffles_them(block, layout):
    maps = torch.randn(2, 3 * block**2, 4, 5).contiguous(memory_format=layout)
    found = pixels_from_channels(maps, block)
    assert torch.equal(found, torch.nn.functional.pixel_shuffle(maps, block))
    assert found.is_contiguous()


@pytest.mark.parametrize(("size", "expected"), [(28, 28), (56, 56), (112, 56), (224, 56)])
@pytest.mark.parametrize(("share", "counts"), [(0.25, 0.0), (0.5, 0.0), (0.75, 0.5), (0.9, 0.8)])
def test_the_guide_counts_what_is_likelier_than_a_half_on_at_most_56_pixels(size, expected, share, counts):
    """A pixel has weight 2 p - 1 if the structure's probability p is above 0.5."""
    probabilities = torch.full((2, 4, size, size), (1 - share) / 3)
    probabilities[:, 2] = share
    wanted = torch.zeros(2, 3, expected, expected)
    wanted[:, 1] = counts
    torch.testing.assert_close(guide_map(probabilities.log()), wanted, atol=1e-5, rtol=1e-5)
