"""The command on the head node: a process whose output and exit status are passed on."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import study.machines.handover
from study.machines.handover import HeadProcess, _follow


class _Remote:
    """A stand-in for a Ray actor that calls its methods directly."""

    def __init__(self, process: HeadProcess) -> None:
        for name in ("poll", "interrupt"):
            setattr(self, name, type("Method", (), {"remote": staticmethod(getattr(process, name))}))


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that starts a script in place of `python -m study.run`, with this machine as the head."""

    def start(script: str) -> HeadProcess:
        package = tmp_path / "study"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "run.py").write_text(script)
        return HeadProcess(["--seed", "3"], str(tmp_path), {"MLFLOW_TRACKING_URI": "http://there"})

    class _Context:
        gcs_address = "10.0.0.1:6379"

    monkeypatch.setattr(study.machines.handover.ray, "get_runtime_context", _Context)
    monkeypatch.setattr(study.machines.handover.ray, "get", lambda value: value)
    monkeypatch.setattr(study.machines.handover, "SECONDS_BETWEEN_POLLS", 0.01)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return start


def test_the_command_runs_there_with_the_heads_own_address_and_its_words_and_status_come_back(head, capsys):
    process = head("import os, sys; print(sys.argv[1:], os.environ['MLFLOW_TRACKING_URI'], flush=True); sys.exit(4)")
    assert _follow(_Remote(process)) == 4
    assert capsys.readouterr().out == "['--seed', '3', '--address', '10.0.0.1:6379'] http://there\n"


def test_ctrl_c_is_passed_on_and_the_end_is_waited_for(head, capsys, monkeypatch: pytest.MonkeyPatch):
    process = head(  # with Python's handler, as SIGINT is ignored in a background job
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    print('on', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    exit(130)"
    )
    slept, own = [], threading.get_ident()

    def interrupted(seconds: float) -> None:
        real(seconds)
        if threading.get_ident() == own and "on" in capsys.readouterr().out and not slept:
            slept.append(True)
            raise KeyboardInterrupt

    real = time.sleep
    monkeypatch.setattr(study.machines.handover.time, "sleep", interrupted)
    assert _follow(_Remote(process)) == 130
    assert slept


def test_a_head_without_the_working_directory_says_so():
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        HeadProcess([], "/nowhere", {})
