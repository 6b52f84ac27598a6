import pytest

from jointnet.errors import EXIT_DATA, EXIT_USAGE, DataError, InputError, SettingsError


@pytest.mark.parametrize(
    ("kind", "status"), [(InputError, EXIT_USAGE), (SettingsError, EXIT_USAGE), (DataError, EXIT_DATA)]
)
def test_an_error_carries_every_error_and_its_exit_status(kind, status):
    error = kind(line for line in ("first", "second"))
    assert error.errors == ("first", "second")
    assert str(error) == "first\nsecond"
    assert error.exit_status == status
    assert kind("only one").errors == ("only one",)


def test_the_exit_statuses_are_those_of_the_documentation():
    assert (EXIT_USAGE, EXIT_DATA) == (2, 3)
