"""Addresses of a cluster, and those that are refused before the start."""

import socket

import pytest

from jointnet.errors import SettingsError
from study.machines.address import check_reachable, is_client, resolve_address, source_of


@pytest.mark.parametrize(
    ("option", "variable", "address"),
    [
        (None, None, None),
        (None, "", None),
        ("local", "10.0.0.1:6379", None),
        (None, "local", None),
        ("auto", None, "auto"),
        ("auto", "10.0.0.1:6379", "10.0.0.1:6379"),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("head", None, "head:6379"),
        ("head:6380", "10.0.0.1:6379", "head:6380"),
        ("ray://head", None, "ray://head:10001"),
        (None, "ray://head:7", "ray://head:7"),
    ],
)
def test_the_option_names_the_cluster_else_the_variable(option, variable, address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert resolve_address(option) == address
    assert is_client(option) == str(address).startswith("ray://")


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:8265", "head:", "head:port", ":6379", "ray://", "a/b"])
def test_another_form_of_address_is_refused_by_the_name_of_what_gave_it(wrong: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SettingsError, match="--address: must be local, auto, HOST:PORT or ray://HOST:PORT, got"):
        resolve_address(wrong)
    monkeypatch.setenv("RAY_ADDRESS", wrong)
    with pytest.raises(SettingsError, match="RAY_ADDRESS: must be"):
        resolve_address(None)


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_reachable(address)
        check_reachable(f"ray://{address}")
    with pytest.raises(SettingsError, match=f"--address: a cluster must listen there, got {address}"):
        check_reachable(address)


@pytest.mark.parametrize(
    ("variable", "name"),
    [("10.0.0.1", "RAY_ADDRESS"), ("10.0.0.2", "--address"), ("a/b", "--address"), ("", "--address")],
)
def test_an_address_is_blamed_on_what_gave_it(variable: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert source_of("10.0.0.1:6379") == name
