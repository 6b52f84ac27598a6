"""`jointnet.export_bundle` with a model of a tracking store: `python -m study.export_bundle --model runs:/...`."""

import sys
from collections.abc import Sequence

from jointnet.export_bundle import __main__ as export_bundle
from study.tracking.download import models_by_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. The model may also be a model file or its folder."""
    with models_by_name() as models:
        return export_bundle.main(arguments, models, "study.export_bundle")


if __name__ == "__main__":
    sys.exit(main())
