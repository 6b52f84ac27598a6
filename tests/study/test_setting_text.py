"""A trial's parameters as short text."""

import pytest

from study.setting_text import setting_text


@pytest.mark.parametrize(
    ("parameters", "searched", "text"),
    [
        ({}, None, ""),
        ({"lambda_2_to_1": 2.0, "lambda_3_to_1": 1.0, "alpha": 0.977}, None, "lambda 0.25/0.50/0.25, alpha 0.98"),
        ({"lambda_2_to_1": 2.0, "alpha": 0.0}, None, "lambda_2_to_1 2, alpha 0"),
        ({"lambda_1": 0.2, "lambda_2": 0.3, "lambda_3": 0.5, "lambda_2_to_1": 1.5, "alpha": 1.0}, ["lambda_2_to_1"],
         "lambda 0.20/0.30/0.50"),
        ({"lambda_1": 0.2, "lambda_2": 0.3, "lambda_3": 0.5, "alpha": 0.5}, ["alpha"], "alpha 0.5"),
        ({"training.learning_rate": 0.0021987, "model.guide_steps": 4.0, "model.head": "v2.0", "x": 16}, None,
         "learning_rate 0.0022, guide_steps 4, head v2.0, x 16"),
        ({"model.widths": [16, 32], "rate": 1e-5}, None, "widths [16, 32], rate 1e-05"),
        ({"alpha": 0.5}, ["gone", "alpha"], "alpha 0.5"),
    ],
)  # fmt: skip
def test_setting_text(parameters: dict, searched: list | None, text: str):
    assert setting_text(parameters, searched) == text
