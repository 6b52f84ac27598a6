import pytest

from jointnet.faults import EXIT_DATA, EXIT_USAGE, DataFaultError, InputFaultError, SettingsFaultError


@pytest.mark.parametrize(
    ("kind", "status"), [(InputFaultError, EXIT_USAGE), (SettingsFaultError, EXIT_USAGE), (DataFaultError, EXIT_DATA)]
)
def test_an_error_carries_every_fault_and_its_exit_status(kind, status):
    error = kind(fault for fault in ("first", "second"))
    assert error.faults == ("first", "second")
    assert str(error) == "first\nsecond"
    assert error.exit_status == status
    assert kind("only one").faults == ("only one",)


def test_the_exit_statuses_are_those_of_the_documentation():
    assert (EXIT_USAGE, EXIT_DATA) == (2, 3)
