"""The commit that a result is recorded with."""

import subprocess
from pathlib import Path

import pytest

from jointnet.system.versions import commit


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[3]
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=False, capture_output=True, text=True)
    if head.returncode:
        pytest.skip("needs a checkout")
    assert commit().removesuffix("+changes") == head.stdout.strip()
