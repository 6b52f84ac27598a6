import pytest

from jointnet.errors import DataError, InputError, SettingsError
from jointnet.system.commands import parse_patients, run_command


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1", (1,)),
        ("1-5,8,12", (1, 2, 3, 4, 5, 8, 12)),
        ("8,1-3", (1, 2, 3, 8)),
        ("3-3", (3,)),
        ("2,2,1-2", (1, 2)),
        (" 4 , 6-7 ", (4, 6, 7)),
        ("007", (7,)),
    ],
)
def test_lists_of_patients(text, numbers):
    assert parse_patients(text) == numbers


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "a", "1-", "-3", "3-1", "1-2-3", "1.5", "1;2", "1 2", "²", "1-x", "--", "+1"]
)
def test_what_is_no_list_of_patients_is_named(text):
    with pytest.raises(SettingsError, match="--patients") as caught:
        parse_patients(text)
    assert repr(text) in str(caught.value)


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
