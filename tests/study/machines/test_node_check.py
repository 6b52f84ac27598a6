"""The checks of every node, and the messages about nodes that lack something."""

import os
from pathlib import Path

import pytest
import ray as ray_module

from jointnet.system.versions import versions
from study.machines.node_check import (
    COMPARED,
    NodeAnswer,
    SharedFolder,
    answer_errors,
    check_here,
    check_nodes,
    folder_errors,
)
from study.machines.ray_folder import SOCKET_IN_FOLDER, ray_folder

OUT, CACHE = SharedFolder("--out", Path("/shared/runs"), True), SharedFolder("--cache", Path("/shared/cache"), False)
SAME = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu", "numpy": "2.4.6"}


def test_a_node_says_what_it_does_not_see_and_leaves_a_sign_where_trials_write(tmp_path: Path):
    out, cache = SharedFolder("--out", tmp_path / "out", True), SharedFolder("--cache", tmp_path / "cache", False)
    (tmp_path / "out/mark").mkdir(parents=True)
    assert check_here((out, cache), "mark", "n1", wait_seconds=0).unseen == ("--cache",)
    assert [path.name for path in (tmp_path / "out/mark").iterdir()] == ["n1"]
    (tmp_path / "cache/mark").mkdir(parents=True)
    answer = check_here((out, cache), "mark", "n2", wait_seconds=0)
    assert answer == NodeAnswer((), (), versions(COMPARED))
    assert not list((tmp_path / "cache/mark").iterdir())


def test_the_nodes_that_lack_something_are_named():
    good = NodeAnswer((), (), SAME)
    blind = NodeAnswer(("--out", "--cache"), (), SAME)
    answers = {"a": good, "b": blind, "c": NodeAnswer(("--cache",), ("--out",), SAME)}
    assert answer_errors(answers, (OUT, CACHE), SAME) == [
        "--out: must be one folder that all nodes share, got /shared/runs, which b does not see",
        "--out: must be one folder that all nodes share, got /shared/runs, which c does see but not write",
        "--cache: must be one folder that all nodes share, got /shared/cache, which b and c do not see",
    ]


@pytest.mark.parametrize(
    ("theirs", "errors"),
    [
        ({"torch": "2.13.0+cu126"}, []),  # another build of the same version
        ({"torch": "2.12.0"}, ["torch: must have one version on all nodes, got 2.13.0 here and 2.12.0 on b"]),
        ({"mlflow": "1.0"}, []),  # only the driver uses it
    ],
)
def test_versions_that_shape_a_trial_must_agree(theirs, errors: list[str]):
    assert answer_errors({"b": NodeAnswer((), (), SAME | theirs)}, (), SAME) == errors


@pytest.mark.slow
def test_a_real_node_is_asked_and_nothing_is_left_behind(ray: None, tmp_path: Path):
    names = {node["NodeID"]: "here" for node in ray_module.nodes() if node["Alive"]}
    shared = (SharedFolder("--out", tmp_path / "new/out", True), SharedFolder("--cache", tmp_path / "cache", False))
    assert check_nodes(names, shared) == []
    assert not list((tmp_path / "new/out").iterdir()) and not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("")
    (error,) = check_nodes(names, (SharedFolder("--out", tmp_path / "file", True),))
    assert error.startswith("--out, --cache: must be folders that can be written")


def test_rays_sockets_are_no_longer_than_is_reckoned(ray: None):
    made = ray_module._private.worker._global_node.plasma_store_socket_name
    folder = ray_folder(os.environ)
    assert made.startswith(f"{folder}/") and len(made) <= len(f"{folder}{SOCKET_IN_FOLDER}")
    assert len(made) + len("4194304") - len(str(os.getpid())) == len(f"{folder}{SOCKET_IN_FOLDER}")


def test_on_this_machine_folders_must_be_there_or_be_makeable(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "scans").mkdir()
    assert folder_errors([SharedFolder("--out", tmp_path / "new/out", True)]) == []
    assert folder_errors([SharedFolder("--cache", tmp_path / "scans", False)]) == []
    assert folder_errors([SharedFolder("--out", tmp_path / "file/out", True)]) == [
        f"--out: must be a folder that can be written, got {tmp_path}/file/out below {tmp_path}/file"
    ]
    assert not (tmp_path / "new").exists()
