"""The first trials of a search, which are not drawn: those that its file states, by default the settings themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from jointnet.errors import short_repr
from jointnet.settings import Settings
from study.search.parameters import Choices, Parameter, plain, value_of

Sample = Mapping[str, Any]


def first_samples(
    parameters: Sequence[Parameter], settings: Settings, seed_trials: Sequence[Sample] | None
) -> tuple[tuple[Sample, ...], list[str]]:
    """Return the different first samples of an arm, and the errors of the others.

    Args:
        parameters: the arm's parameters, each after those of its condition.
        settings: the arm's settings.
        seed_trials: values by parameter. What is left out has the value of the settings, and values of parameters that
            the arm does not have are ignored. None stands for the settings themselves, without an error.
    """
    samples, errors = list[Sample](), list[str]()
    for number, values in enumerate([{}] if seed_trials is None else seed_trials):
        sample, wrong = _sample_at(parameters, settings, values)
        errors += [f"seed_trials[{number}]: {line}" for line in wrong]
        if not wrong and sample not in samples:
            samples.append(sample)
    return tuple(samples), [] if seed_trials is None else errors


def _sample_at(parameters: Sequence[Parameter], settings: Settings, values: Sample) -> tuple[Sample, list[str]]:
    """Return the sample with these values, and an error for each value that lies outside its parameter's."""
    sample, errors = dict[str, Any](), list[str]()
    for parameter in parameters:
        name, domain = parameter.name, parameter.domain
        if not parameter.is_drawn(sample):
            continue
        value = plain(values.get(name, value_of(settings, name)))
        if not domain.has(value):
            own = "" if name in values else ", the value of the settings; state another or widen the parameter"
            errors.append(f"{name} must be of {domain}, got {short_repr(value)}{own}")
        elif isinstance(domain, Choices):
            sample[name] = domain.values[domain.values.index(value)]
        else:
            sample[name] = int(value) if domain.whole else float(value)
    return sample, errors
