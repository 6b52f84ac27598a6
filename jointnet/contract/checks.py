"""The contract of a network: one function for each property that training, validation and prediction rely on.

Each takes the settings, which name the model, and raises `BrokenContractError` with what the network did. The tests run
them on the models here, `python -m jointnet.contract` on the user's own.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from jointnet.batches.synthetic_pairs import SyntheticPairs
from jointnet.common_grid import SIZE_PX
from jointnet.geometry import identity
from jointnet.model_file import load_model, save_model
from jointnet.models import model_of
from jointnet.networks import Output, build_model
from jointnet.settings import Settings, own_code_of, with_values
from jointnet.structures import CLASS_INDEX, CLASSES, STRUCTURES
from jointnet.train.loop import new_learner, train_epoch

STEPS = 8
"""Steps of the training that is tried."""
NOISE_SD = 0.2
"""SD of the noise that is added to the weights, so that the network predicts something before training."""


class BrokenContractError(Exception):
    """A network lacks a property that it must have."""


def has_the_shapes_and_types(settings: Settings) -> None:
    """Theta is (B, 2, 3) in 32 bits; a model that segments returns scores of all classes for both images."""
    output = _with_noise(settings)(*_images(settings))
    _require(isinstance(output, Output), f"must return an Output, got {type(output).__name__}")
    _require(output.theta.shape == (3, 2, 3), f"theta must have the shape (3, 2, 3), got {tuple(output.theta.shape)}")
    _require(output.theta.dtype == torch.float32, f"theta must be float32, got {output.theta.dtype}")
    segments = model_of(settings.model.name).segments
    for name in ("cine_logits", "lge_logits"):
        scores = getattr(output, name)
        _require(
            (scores is not None) == segments,
            f"{name} must be {'scores' if segments else 'None'}, as the model's entry says",
        )
        if scores is not None:
            whole = SIZE_PX // settings.training.downsampling
            _require(scores.ndim == 4 and scores.shape[:2] == (3, CLASSES), f"{name} must have {CLASSES} classes")
            _require(
                scores.shape[2:] == (whole, whole), f"{name} must be {whole} x {whole}, got {tuple(scores.shape[2:])}"
            )


def starts_at_the_identity(settings: Settings) -> None:
    """Before training theta is the identity, and no structure has a probability of half or more."""
    output = _new(settings)(*_images(settings))
    away = float((output.theta - identity(3)).abs().max().detach())
    _require(away < 1e-5, f"theta must be the identity before training, got {away:.3g} away")
    for name, scores in _scores(output).items():
        likeliest = float(scores.softmax(1)[:, 1:].max().detach())
        _require(
            likeliest < 0.5,
            f"{name}: structures must have a probability below 0.5 before training, got {likeliest:.3g}",
        )


def segments_its_structures_only(settings: Settings) -> None:
    """Structures that the settings do not name have the probability 0 (`jointnet.networks.with_absent`)."""
    absent = [CLASS_INDEX[name] for name in STRUCTURES if name not in settings.model.structures]
    for name, scores in _scores(_with_noise(settings)(*_images(settings))).items():
        most = float(scores.float().softmax(1)[:, absent].max().detach()) if absent else 0.0
        _require(most == 0, f"{name}: structures that are not learned must have the probability 0, got {most:.3g}")


def keeps_slices_apart(settings: Settings) -> None:
    """In evaluation the prediction for a slice does not depend on the others of its batch."""
    model, (cine, lge) = _with_noise(settings).eval(), _images(settings)
    together = model(cine, lge)
    for index in range(len(cine)):
        alone = model(cine[index : index + 1], lge[index : index + 1])
        for one, all_of_them in zip(alone[:3], together[:3], strict=True):
            if one is not None:
                away = float((one[0] - all_of_them[index]).abs().max().detach())
                same = torch.allclose(one[0], all_of_them[index], atol=2e-4, rtol=1e-3)
                _require(same, f"a slice alone must be as in a batch, got {away:.3g} apart")


def keeps_no_statistics(settings: Settings) -> None:
    """A training step changes weights only: no batch normalisation, because averaged weights have no statistics."""
    model = _with_noise(settings).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(*_images(settings))
    changed = [name for name, value in model.named_buffers() if not torch.equal(value, before[name])]
    _require(not changed, f"buffers must stay as they are in training, got changes of {', '.join(changed[:3])}")


def stays_within_the_limits(settings: Settings) -> None:
    """However large the weights, theta is finite, and its scales and shear obey `settings.model`."""
    limits = {"model.max_rotation_deg": 5.0, "model.max_scale": 1.1, "model.max_shear": 0.05}
    narrow = with_values(settings, limits)
    model = _with_noise(narrow)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(10)
    theta = model(*_images(narrow)).theta.detach()
    _require(bool(torch.isfinite(theta).all()), "theta must be finite with weights ten times as large")
    chosen = narrow.model
    shear = chosen.max_shear / 2 + (1 + chosen.max_shear**2 / 4) ** 0.5  # largest singular value of [[1, s], [0, 1]]
    largest, found = chosen.max_scale * shear, torch.linalg.svdvals(theta[:, :, :2])
    inside = bool((found <= largest * (1 + 1e-5)).all() and (found >= (1 - 1e-5) / largest).all())
    _require(
        inside, f"theta must scale by at most {largest:.3g} with model.max_scale 1.1, got {float(found.max()):.3g}"
    )


def trains_all_its_weights(settings: Settings) -> None:
    """The gradient reaches every parameter and is finite."""
    model = _with_noise(settings)
    output = model(*_images(settings))
    loss = sum(
        (
            (part * torch.linspace(-1, 1, part.numel()).reshape(part.shape)).sum()
            for part in output[:3]
            if part is not None
        ),
        start=torch.zeros(()),
    )
    loss.backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().any()]
    _require(not silent, f"the gradient must reach all parameters, got none in {', '.join(silent[:3])}")
    wild = [name for name, value in model.named_parameters() if not bool(torch.isfinite(value.grad).all())]  # type: ignore[arg-type]
    _require(not wild, f"gradients must be finite, got others in {', '.join(wild[:3])}")


def computes_in_16_bits(settings: Settings) -> None:
    """With bfloat16, as in training on most devices, theta is finite and in 32 bits."""
    with torch.autocast("cpu", torch.bfloat16):
        theta = _with_noise(settings)(*_images(settings)).theta
    _require(theta.dtype == torch.float32, f"theta must be float32 in 16 bits, too, got {theta.dtype}")
    _require(bool(torch.isfinite(theta).all()), "theta must be finite in 16 bits")


def learns(settings: Settings) -> None:
    """A short training on one synthetic batch lowers its loss."""
    torch.manual_seed(0)
    still = with_values(settings, {f"augmentation.{name}": 0.0 for name in asdict(settings.augmentation)})
    learner, generator = new_learner(still, 2 * STEPS, torch.device("cpu")), torch.Generator().manual_seed(0)
    pairs, batch = SyntheticPairs(still), [torch.arange(2)]
    losses = [train_epoch(learner, pairs, batch, generator, False)["train/loss"] for _ in range(STEPS)]
    _require(losses[-1] < losses[0], f"{STEPS} steps must lower the loss, got {losses[0]:.5g}, then {losses[-1]:.5g}")


def is_restored_from_a_file(settings: Settings) -> None:
    """The same seed gives the same weights, and a model file gives them back with the same predictions."""
    model, images = _with_noise(settings).eval(), _images(settings)
    twin = _with_noise(settings)
    _require(_same(model.state_dict(), twin.state_dict()), "the same seed must give the same weights")
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model.pt", model.state_dict(), settings, {}, 1)
        loaded = load_model(Path(folder) / "model.pt", allow_code=own_code_of(settings)).model
    _require(torch.equal(loaded(*images).theta, model(*images).theta), "a model file must give the same predictions")


CHECKS: Mapping[str, Callable[[Settings], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        has_the_shapes_and_types,
        starts_at_the_identity,
        segments_its_structures_only,
        keeps_slices_apart,
        keeps_no_statistics,
        stays_within_the_limits,
        trains_all_its_weights,
        computes_in_16_bits,
        learns,
        is_restored_from_a_file,
    )
}
"""The checks by the property that they check, as it is printed."""


def variants(settings: Settings) -> dict[str, Settings]:
    """Return the settings under which a network is checked: as given, with neighbours, without a structure."""
    found = {"": settings, "with neighbouring slices": with_values(settings, {"model.neighbours": 1})}
    if model_of(settings.model.name).segments:
        found["without the RV"] = with_values(settings, {"model.structures": ["lv", "myo"]})
    return found


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise BrokenContractError(text)


def _new(settings: Settings) -> nn.Module:
    torch.manual_seed(0)
    return build_model(settings)


def _with_noise(settings: Settings) -> nn.Module:
    """Return a new model with noise added to its weights."""
    model, generator = _new(settings), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(NOISE_SD * torch.randn(weights.shape, generator=generator))
    return model


def _images(settings: Settings) -> tuple[Tensor, Tensor]:
    """Return images (3, N, H, W) of cine and LGE."""
    seen, side = 1 + 2 * settings.model.neighbours, SIZE_PX // settings.training.downsampling
    cine, lge = torch.rand(2, 3, seen, side, side, generator=torch.Generator().manual_seed(0))
    return cine, lge


def _scores(output: Output) -> dict[str, Tensor]:
    both = {"cine_logits": output.cine_logits, "lge_logits": output.lge_logits}
    return {name: scores for name, scores in both.items() if scores is not None}


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())
