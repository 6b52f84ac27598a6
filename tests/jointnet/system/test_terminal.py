"""Real processes whose output cannot be written: they finish their work with their own status and no message."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMAND = """
import sys
from pathlib import Path
from jointnet.system.terminal import ignore_closed_output
ignore_closed_output()
print("first", flush=True)
sys.stdin.read()  # until the reader is gone
for number in range(5000):
    print("line", number)
    print("line", number, file=sys.stderr)
Path(sys.argv[1]).write_text("done")
sys.exit(7)
"""
PROGRESS = """
import sys
from jointnet.system.terminal import ignore_closed_output
from rich.console import Console
from study.search.outcome import TrialOutcome
from study.trials.progress import ArmProgress, StudyProgress
ignore_closed_output()
trial = TrialOutcome(1, "t0001", {}, "running", "", ())
with StudyProgress({"a": ArmProgress("a", 1, 1.0, 1.0)}, 0.0, Console(force_terminal=len(sys.argv) > 2)) as progress:
    progress.note("first")
    sys.stdin.read()
    for number in range(100):
        progress.note(f"note {number}")
        progress.epoch_done("a", trial)
open(sys.argv[1], "w").write("done")
sys.exit(7)
"""


def _start(text: str, *arguments: str, **streams) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True, **streams)


def _end(process: "subprocess.Popen[bytes]", done: Path) -> None:
    process.stdin.close()
    assert process.wait(60) == 7
    assert done.read_text() == "done"


@pytest.mark.parametrize(("text", "kind"), [(COMMAND, ()), (PROGRESS, ()), (PROGRESS, ("live",))])
def test_a_reader_that_goes_away_ends_no_work(tmp_path: Path, text: str, kind: tuple[str, ...]):
    """The reader ends like that of `| head -1`, or of `| tee log` after Ctrl+C."""
    done = tmp_path / "done"
    process = _start(text, str(done), *kind, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b"first" not in process.stdout.readline():
        pass
    process.stdout.close()
    if text == COMMAND:
        process.stderr.close()
        _end(process, done)
    else:
        process.stdin.close()
        assert process.stderr.read() == b""
        _end(process, done)


def test_a_terminal_that_is_gone_ends_no_work(tmp_path: Path):
    done = tmp_path / "done"
    master, slave = pty.openpty()
    process = _start(COMMAND, str(done), stdout=slave, stderr=slave)
    os.close(slave)
    os.read(master, 5)
    os.close(master)
    _end(process, done)


def test_a_full_disk_behind_the_output_ends_no_work_and_is_said_once(tmp_path: Path):
    done = tmp_path / "done"
    with Path("/dev/full").open("wb") as full:
        process = _start(COMMAND, str(done), stdout=full, stderr=subprocess.PIPE)
    process.stdin.close()
    said = process.stderr.read().decode().splitlines()
    _end(process, done)
    assert [line for line in said if not line.startswith("line ")] == [
        "warning: output is incomplete, a part could not be written: No space left on device"
    ]


def test_a_process_without_any_output_does_its_work(tmp_path: Path):
    done = tmp_path / "done"
    process = _start(COMMAND, str(done), preexec_fn=lambda: (os.close(1), os.close(2)))
    _end(process, done)


def test_unbuffered_output_stays_unbuffered(monkeypatch: pytest.MonkeyPatch):
    """Container logs use `python -u` or PYTHONUNBUFFERED=1."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    text = "import sys; from jointnet.system.terminal import ignore_closed_output; ignore_closed_output(); "
    text += "print('a', end=''); "
    process = _start(
        text + "print('b', end='', file=sys.stderr); sys.stdin.read()", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for stream, letter in ((process.stdout, b"a"), (process.stderr, b"b")):
        assert select.select([stream], [], [], 30)[0], "still in a buffer"
        assert os.read(stream.fileno(), 10) == letter
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize("strict", [{"PYTHONIOENCODING": "utf-8:strict"}, {"PYTHONIOENCODING": "ascii:strict"}])
def test_a_path_that_is_not_utf_8_is_printed_as_an_escape(strict: dict[str, str]):
    text = "from jointnet.system.terminal import ignore_closed_output; ignore_closed_output(); print('caf\\udce9/r')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **strict}
    printed = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, check=True)
    assert printed.stdout == b"caf\\udce9/r\n" and printed.stderr == b""


def test_a_stream_that_somebody_replaced_is_left_alone(capsys: pytest.CaptureFixture[str]):
    from jointnet.system.terminal import ignore_closed_output

    before = sys.stdout, sys.stderr
    ignore_closed_output()
    assert (sys.stdout, sys.stderr) == before
