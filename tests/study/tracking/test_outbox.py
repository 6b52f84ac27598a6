"""The outbox: deliveries in order, retries, a single message per error, and no blocking of the caller."""

import threading
import time

import pytest

from study.tracking import outbox as module
from study.tracking.outbox import Outbox


class RefusedError(Exception):
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.005)
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "ROUND_PAUSE_SECONDS", 0.01)


@pytest.fixture
def box():
    said: list[str] = []
    made = Outbox(said.append, lambda error: isinstance(error, RefusedError))
    yield made, said
    made.close(0)


def test_writes_are_done_in_order(box):
    outbox, said = box
    done: list[int] = []
    for number in range(100):
        outbox.put(lambda number=number: done.append(number))
    assert outbox.flush(10) == 0
    assert done == list(range(100)) and said == []


def test_a_store_that_is_away_and_back_is_said_once_and_loses_nothing(box):
    outbox, said = box
    away, done = threading.Event(), []
    away.set()

    def write(number):
        if away.is_set():
            raise ConnectionError("connection refused")
        done.append(number)

    for number in range(20):
        outbox.put(lambda number=number: write(number))
    assert outbox.flush(0.2) == 20 and isinstance(outbox.error, ConnectionError)
    away.clear()
    assert outbox.flush(10) == 0 and outbox.error is None
    assert done == list(range(20))
    assert len(said) == 2
    assert said[0].startswith("WARNING: the tracking store cannot be written") and "connection refused" in said[0]
    assert said[1].startswith("The tracking store is back")


def test_putting_never_waits_for_the_store(box):
    outbox, _ = box
    stuck = threading.Event()
    outbox.put(lambda: stuck.wait(30))
    began = time.monotonic()
    for _ in range(1000):
        outbox.put(lambda: None)
    assert time.monotonic() - began < 5
    stuck.set()
    assert outbox.flush(10) == 0


def test_what_the_store_refuses_is_said_and_left_out(box):
    outbox, said = box
    done: list[int] = []

    def refuse():
        raise RefusedError("no such run")

    for write in (lambda: done.append(1), refuse, lambda: done.append(2)):
        outbox.put(write)
    assert outbox.flush(10) == 0
    assert done == [1, 2] and said == ["WARNING: the tracking store refused an entry: no such run"]


def test_closing_gives_up_what_is_left(box):
    outbox, _ = box

    def fail():
        raise ConnectionError("gone")

    outbox.put(fail)
    outbox.put(fail)
    assert outbox.close(0.05) == 2


def test_a_slow_store_is_waited_for_as_long_as_it_takes_one_write_after_the_other(box):
    outbox, _ = box
    for _ in range(4):
        outbox.put(lambda: time.sleep(0.5))
    assert outbox.flush(60, 0.1) >= 3  # seconds in all
    assert outbox.flush(1.5) == 0


def test_writes_come_in_rounds_unless_somebody_waits_for_them(box, monkeypatch):
    outbox, _ = box
    monkeypatch.setattr(module, "ROUND_PAUSE_SECONDS", 3600.0)
    done: list[int] = []
    outbox.put(lambda: done.append(1))
    outbox.put(lambda: done.append(2))
    assert outbox.flush(10) == 0 and done == [1, 2]
    outbox.put(lambda: done.append(3))
    time.sleep(0.2)
    assert done == [1, 2]
    assert outbox.close(10) == 0 and done == [1, 2, 3]


def test_many_refusals_are_counted_and_said_once(box):
    outbox, said = box

    def refuse():
        raise RefusedError("the experiment must be active")

    for _ in range(50):
        outbox.put(refuse)
    assert outbox.close(10) == 0
    assert outbox.refusals == ["the experiment must be active"] * 50 and len(said) == 1


@pytest.mark.parametrize("error", [RefusedError("forbidden"), ConnectionError("no registry"), OSError("disk")])
def test_an_optional_write_that_fails_is_tried_once_and_holds_up_nothing(box, error):
    outbox, said = box
    tried, done = [], []

    def fail():
        tried.append(1)
        raise error

    outbox.put(fail, optional="the registered model a")
    outbox.put(lambda: done.append(1))
    assert outbox.close(10) == 0
    assert (tried, done, said, outbox.refusals) == ([1], [1], [], [])
    assert outbox.left_out == [f"the registered model a: {error}"]


def test_an_optional_write_that_is_not_done_in_time_is_left_out_and_not_counted(box):
    outbox, _ = box
    stuck = threading.Event()
    outbox.put(lambda: stuck.wait(30), optional="the registered model a")
    assert outbox.close(0.05) == 0
    assert outbox.left_out == ["the registered model a: not done in time"]
    stuck.set()
