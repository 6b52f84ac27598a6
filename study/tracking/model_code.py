"""The code with which MLflow loads a registered model.

MLflow copies this file and the package `jointnet` into the model ("models from code"). The weights are a state dict;
nothing is unpickled. This file must not import from `study`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from jointnet.model_file import load_model
from jointnet.networks.apply import predict


class RegistrationModel(PythonModel):
    """Registration of one patient's slices, aligned about the transform that they have in common."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights. Only tensors and plain values are loaded.

        A network outside `jointnet` is built only where `mlflow.pyfunc.load_model` allows it by
        `model_config={"allow_code": ["PACKAGE or FILE.py"]}`. Its code is shipped in the folder `code`.
        """
        path = Path(context.artifacts["model"])
        shipped = path.parents[1] / "code"
        allowed = [str(shipped / name) if (shipped / name).is_file() else name for name in _allowed(context)]
        self._model = load_model(path, allow_code=allowed).model

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Predict one patient's slices.

        Args:
            context: unused.
            model_input: images (S, 2, 224, 224), float32: cine and LGE on the common grid, with the intensities
                that `jointnet.preparation.prepared_patient` returns.
            params: unused.

        Returns:
            `theta` (S, 2, 3) from cine to LGE coordinates. A model that segments also returns `cine_labels` and
            `lge_labels` (S, 224, 224), uint8.
        """
        found = predict(self._model, np.ascontiguousarray(model_input, dtype=np.float32))
        arrays = {"theta": found.theta, "cine_labels": found.cine_labels, "lge_labels": found.lge_labels}
        return {name: value for name, value in arrays.items() if value is not None}


def _allowed(context: PythonModelContext) -> list[str]:
    return list((context.model_config or {}).get("allow_code", ()))


set_model(RegistrationModel())
