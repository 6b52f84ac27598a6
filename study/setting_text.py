"""A trial's parameters as short text, the same on the terminal, in the report and in MLflow."""

from collections.abc import Iterable, Mapping

_LAMBDAS = ("lambda_1", "lambda_2", "lambda_3")
_RATIOS = ("lambda_2_to_1", "lambda_3_to_1")


def setting_text(parameters: Mapping[str, object], searched: Iterable[str] | None = None) -> str:
    """Return parameters as text, such as `lambda 0.40/0.54/0.06, alpha 0.98, learning_rate 0.0022`.

    The two ratios of the loss weights are shown as the three weights, whose sum is 1.

    Args:
        parameters: values by name.
        searched: names of the parameters to show, in this order; all by default.
    """
    names = [name for name in (parameters if searched is None else searched) if name in parameters]
    weights = _weights(parameters) if any(name in _RATIOS for name in names) else None
    parts = []
    if weights is not None:
        names = [name for name in names if name not in (*_RATIOS, *_LAMBDAS)]
        parts.append(f"lambda {'/'.join(f'{weight:.2f}' for weight in weights)}")
    return ", ".join([*parts, *(f"{name.rpartition('.')[2]} {_value(parameters[name])}" for name in names)])


def _weights(parameters: Mapping[str, object]) -> tuple[float, ...] | None:
    """Return the three weights, from themselves or from both ratios; None without these."""
    given = tuple(value for name in _LAMBDAS if isinstance(value := parameters.get(name), int | float))
    if len(given) == len(_LAMBDAS):
        return given
    ratios = [value for name in _RATIOS if isinstance(value := parameters.get(name), int | float)]
    return tuple(each / (1 + sum(ratios)) for each in (1.0, *ratios)) if len(ratios) == len(_RATIOS) else None


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.2g}"
    return str(value)
