"""`jointnet.export_bundle` with a model of a tracking store: `python -m study.export_bundle --model runs:/...`."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jointnet import export_bundle, predict
from study.tracking.model_address import fetch_model, is_address


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status; a model file or its folder does, too."""
    with tempfile.TemporaryDirectory(prefix="jointnet-model-") as scratch:

        def find(name: str) -> Path:
            return fetch_model(name, Path(scratch)) if is_address(name) else predict.local_model(name)

        return export_bundle.main(arguments, find)


if __name__ == "__main__":
    sys.exit(main())
