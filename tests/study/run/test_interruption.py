"""Ctrl+C: the first stops gently, the second at once."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from study.run.interruption import first_gently, heed_signals


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Restore the default action of SIGHUP, which is ignored if the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_gently_and_the_second_at_once(number):
    before = signal.getsignal(number)
    heard = []
    with pytest.raises(KeyboardInterrupt), first_gently(lambda: heard.append(1)):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert heard == [1]
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert heard == [1]
    assert signal.getsignal(number) is before


def test_without_a_signal_nothing_is_called():
    with first_gently(lambda: pytest.fail("called")):
        pass


def test_a_terminal_that_closes_is_not_heeded_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with first_gently(lambda: pytest.fail("called")):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_outside_a_search_a_batch_system_and_a_closed_terminal_interrupt_as_ctrl_c_does(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        heed_signals()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
