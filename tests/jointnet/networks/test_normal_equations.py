import math

import pytest
import torch

from jointnet.geometry import about, centres, theta_from_parameters
from jointnet.networks.normal_equations import directions, monomials, normal_equations

SIZE = 12
POWERS = monomials(SIZE, torch.device("cpu"))
PARAMETERS = torch.tensor(
    [[0.0, 0, 0, 0, 0, 0], [math.radians(12), 0.1, -0.08, 0.05, 0.1, -0.2], [-0.3, -0.1, 0.1, -0.1, 0, 0.05]]
)
CENTRES = torch.tensor([[0.0, 0.0], [0.2, -0.1], [-0.4, 0.3]])


def drawn():
    """Return a random residual and gradient (3, 2, 12, 12) for three slices of two maps."""
    return torch.randn(3, 3, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def jacobian(along_columns, along_rows, parameters, centre):
    """Return J (6, K H W) of one slice by automatic differentiation of the positions theta_p x about the centre."""
    points = centres(SIZE).double().reshape(-1, 2)

    def places(p):
        theta = about(theta_from_parameters(p[None]), centre[None])[0]
        return points @ theta[:, :2].T + theta[:, 2]

    moved = torch.autograd.functional.jacobian(places, parameters)
    pixels = torch.stack([along_columns.flatten(1), along_rows.flatten(1)], -1)
    return torch.einsum("kxa,xaj->jkx", pixels, moved).flatten(1)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_moments_give_the_jacobian_s_products(weighted):
    residual, along_columns, along_rows = drawn()
    weight = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters, middles = PARAMETERS.double(), CENTRES.double()
    second, first = normal_equations(
        residual.float(), along_columns.float(), along_rows.float(), POWERS, weight.float() if weighted else None
    )
    turned = directions(PARAMETERS, CENTRES)
    for index in range(3):
        exact = jacobian(along_columns[index], along_rows[index], parameters[index], middles[index])
        each = weight[index].flatten().repeat(2) if weighted else torch.ones(2 * SIZE**2, dtype=torch.float64)
        products = (turned @ second @ turned.mT)[index], (turned @ first[..., None])[index, :, 0]
        torch.testing.assert_close(products[0].double(), (exact * each) @ exact.T, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(
            products[1].double(), (exact * each) @ residual[index].flatten(), atol=1e-3, rtol=1e-4
        )


def test_maps_without_a_slope_say_nothing():
    flat = torch.zeros(3, 2, SIZE, SIZE)
    second, first = normal_equations(torch.ones_like(flat), flat, flat, POWERS)
    assert float(second.abs().max()) == float(first.abs().max()) == 0


def test_a_part_of_the_image_says_what_the_whole_says_with_no_weight_elsewhere():
    maps = [each.float() for each in drawn()]
    rows, columns = slice(2, 9), slice(5, 12)
    weight = torch.zeros(3, SIZE, SIZE)
    weight[:, rows, columns] = 1
    part = normal_equations(*(each[..., rows, columns] for each in maps), POWERS[:, rows, columns])
    torch.testing.assert_close(part, normal_equations(*maps, POWERS, weight), atol=1e-4, rtol=1e-5)


def test_a_batch_is_its_slices_one_by_one():
    residual, along_columns, along_rows = (each.float() for each in drawn())
    together = normal_equations(residual, along_columns, along_rows, POWERS)
    for index in range(3):
        one = slice(index, index + 1)
        alone = normal_equations(residual[one], along_columns[one], along_rows[one], POWERS)
        torch.testing.assert_close(alone, tuple(part[one] for part in together), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(directions(PARAMETERS[one], CENTRES[one]), directions(PARAMETERS, CENTRES)[one])


def test_what_a_prediction_asked_for_first_can_be_trained_through():
    """This size is used here only, first in inference mode, as by a validation before training."""
    maps = torch.ones(1, 1, 13, 13)
    with torch.inference_mode():
        normal_equations(maps, maps, maps, monomials(13, maps.device))
    residual = maps.clone().requires_grad_()
    normal_equations(residual, maps, maps, monomials(13, maps.device))[1].sum().backward()
    assert torch.isfinite(residual.grad).all()
