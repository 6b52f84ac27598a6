"""`jointnet.predict` with a model of a tracking store: `python -m study.predict --model models:/NAME@champion ...`.

Options, output files and exit statuses are those of `python -m jointnet.predict` (`docs/how-to/predict.md`).
"""

import sys
from collections.abc import Sequence

from jointnet.predict import __main__ as predict
from study.tracking.download import models_by_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. The model may also be a model file or its folder."""
    with models_by_name() as models:
        return predict.main(arguments, models, "study.predict")


if __name__ == "__main__":
    sys.exit(main())
