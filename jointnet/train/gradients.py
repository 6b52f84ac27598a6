"""Gradient norm of each branch of the loss on the parameters that branches share.

The lambdas affect only parameters that several branches share. On a parameter of a single branch, Adam cancels any
constant factor. The gradient norms on the shared parameters therefore show the effect of the lambdas.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def shared_gradient_norms(losses: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, float]:
    """Return the Euclidean norm of each branch's gradient on the parameters that at least two branches use.

    Args:
        losses: a scalar for each branch, already multiplied by its lambda. Their graph is retained.
        parameters: the parameters of the model.

    Returns:
        A norm for each branch. Empty if no parameter is shared, as in a model with one branch.
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
