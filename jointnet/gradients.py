"""How hard each branch of the loss pulls on the weights that branches share.

A lambda acts only where branches meet: on a parameter that one branch alone reaches, Adam cancels any factor. So what
the lambdas do shows in the gradients' norms on the shared parameters, branch by branch.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def shared_gradient_norms(losses: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, float]:
    """Give the Euclidean norm of each branch's gradient on the parameters that two branches or more reach.

    Args:
        losses: a scalar for each branch, already multiplied by its lambda; their graph is kept.
        parameters: of the model.

    Returns:
        A norm for each branch; nothing where no parameter is shared, as in a model with one branch.
    """
    if len(losses) < 2:
        return {}
    weights = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = {
        name: torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for name, loss in losses.items()
    }
    reached = [
        sum(found is not None for found in over_branches) for over_branches in zip(*gradients.values(), strict=True)
    ]
    norms: dict[str, Tensor] = {}
    for name, found in gradients.items():
        shared = [
            gradient.float().square().sum()
            for gradient, branches in zip(found, reached, strict=True)
            if gradient is not None and branches > 1
        ]
        if shared:
            norms[name] = torch.stack(shared).sum().sqrt()
    if not norms:
        return {}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))
