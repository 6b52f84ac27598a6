"""What the command `jointnet.contract` does: run all checks on a model and print a line for each."""

import sys
import time

from jointnet.contract.checks import CHECKS, BrokenContractError, variants
from jointnet.settings import Settings, load_settings, with_values


def check_model(model: str, settings: str) -> list[str]:
    """Print a line for each check of a model and return the names of those that failed.

    Args:
        model: name of the model, or the reference to it.
        settings: name or file of the settings.

    Raises:
        SettingsError: if there is no such model, or the settings are invalid.
    """
    name = {"model.name": model}
    own = with_values(load_settings(settings, with_values(Settings(), name)), name)
    failed = []
    for words, check in CHECKS.items():
        started = time.perf_counter()
        try:
            for variant, varied in variants(own).items():
                where = f" ({variant})" if variant else ""
                check(varied)
        except BrokenContractError as error:
            failed.append(words)
            print(f"FAILED  {words}{where}: {error}", flush=True)
        except Exception as error:  # the user's network may raise anything
            failed.append(words)
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"FAILED  {words}{where}: {text}", flush=True)
        else:
            print(f"passed  {words} ({time.perf_counter() - started:.1f} s)", flush=True)
    passed = len(CHECKS) - len(failed)
    print(f"{model}: {passed} of {len(CHECKS)} checks passed", file=sys.stderr if failed else sys.stdout)
    return failed
