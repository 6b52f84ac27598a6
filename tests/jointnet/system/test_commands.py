import pytest

from jointnet.errors import DataError, InputError, SettingsError
from jointnet.system.commands import run_command


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError(["first", "second"]), 2),
        (InputError(["first", "second"]), 2),
        (DataError(["first", "second"]), 3),
        (FileNotFoundError(2, "first second"), 2),
    ],
)
def test_errors_become_lines_and_an_exit_status(capsys, error, status):
    def command():
        raise error

    assert run_command(command) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert "first" in err
    assert "second" in err
    assert len(err.splitlines()) == (1 if isinstance(error, OSError) else 2)


def test_success_is_0_and_other_errors_are_not_hidden():
    assert run_command(lambda: None) == 0
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)
