"""Start of Ray on this machine and on a cluster."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import study.machines.cluster
from jointnet.errors import SettingsError
from jointnet.system.quota import usable_cpus
from study.machines.cluster import ray_session, survey, this_machine
from study.plan.plan import Transfer


class _FakeRay:
    """A stand-in for `ray` that records how it is started and stopped."""

    exceptions = study.machines.cluster.ray.exceptions

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def init(self, **options: Any) -> None:
        self.calls.append(options)
        if options["address"] == "auto":
            raise ConnectionError("Could not find\nany running Ray instance.")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_a_local_study_never_attaches_to_a_cluster_that_runs(monkeypatch: pytest.MonkeyPatch):
    ray = _FakeRay()
    monkeypatch.setattr(study.machines.cluster, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with ray_session(None):
        pass
    started, ended = ray.calls
    assert (started["address"], started["num_cpus"], started["num_gpus"]) == ("local", usable_cpus(), 0)
    assert ended == "shutdown"


@pytest.mark.parametrize("own", [None, "4"])
def test_workers_have_one_arena_unless_the_environment_says_otherwise(own: str | None, monkeypatch: pytest.MonkeyPatch):
    """Local workers inherit it; cluster workers get it unless the job sets it, as Ray refuses to set it twice."""
    ray = _FakeRay()
    monkeypatch.setattr(study.machines.cluster, "ray", ray)
    monkeypatch.setattr(study.machines.cluster, "check_reachable", lambda address: None)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if own is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", own)
    with ray_session("10.0.0.1:6379"):
        pass
    assert ray.calls[0]["runtime_env"] == {"env_vars": {} if own else {"MALLOC_ARENA_MAX": "1"}}
    monkeypatch.setattr(study.machines.cluster.os, "environ", dict(os.environ))  # a copy, as it is changed
    with ray_session(None):
        assert os.environ["MALLOC_ARENA_MAX"] == (own or "1")


def test_no_cluster_to_join_is_an_error_of_the_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study.machines.cluster, "ray", _FakeRay())
    with (
        pytest.raises(SettingsError, match="got auto: Could not find any running Ray instance"),
        ray_session("auto"),
    ):
        pass


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Exception("The current node timed out during startup."), SettingsError),
        (OSError(errno.EACCES, "Permission denied"), SettingsError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),  # temporary, so the command may be repeated
    ],
)
def test_a_ray_that_does_not_start_is_no_reason_to_try_for_ever(raised, expected, monkeypatch: pytest.MonkeyPatch):
    class NotStarting(_FakeRay):
        def init(self, **options: Any) -> None:
            raise raised

    monkeypatch.setattr(study.machines.cluster, "ray", NotStarting())
    with pytest.raises(expected, match=" ".join(str(raised).split()[-3:])) as caught, ray_session(None):
        pass
    if expected is SettingsError:
        assert caught.value.errors[0].startswith("Ray must be able to start on this machine, got ")
        assert "/session_latest/logs" in caught.value.errors[0]


@pytest.mark.parametrize("address", [None, "auto"])
def test_a_batch_systems_signal_while_ray_starts_interrupts_as_ctrl_c_does(address, monkeypatch: pytest.MonkeyPatch):
    class Terminated(_FakeRay):
        def init(self, **options: Any) -> None:
            raise SystemExit(15)  # as Ray's own handler of SIGTERM does

    monkeypatch.setattr(study.machines.cluster, "ray", Terminated())
    with pytest.raises(KeyboardInterrupt), ray_session(address):
        pass


def test_this_machine_is_the_only_node_without_a_cluster(tmp_path: Path):
    assert survey(None, ()) == ((this_machine(),), [], Transfer(), None)
