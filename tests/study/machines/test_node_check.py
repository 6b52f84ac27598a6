"""The checks of every node, and the messages about nodes that lack something."""

import os
from pathlib import Path

import pytest
import ray as ray_module

from jointnet.system.versions import versions
from study.machines.fit_node import COMPARED, UnfitNodeError, check_seen, check_versions, version_errors
from study.machines.node_check import NodeAnswer, SharedFolder, check_here, check_nodes, folder_errors, transfer_of
from study.machines.ray_folder import SOCKET_IN_FOLDER, ray_folder
from study.plan.plan import Transfer

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


GOOD = NodeAnswer((), (), SAME)
BLIND = NodeAnswer(("--out", "--cache"), (), SAME)


@pytest.mark.parametrize(
    ("answers", "may_grow", "expected"),
    [
        ({"a": GOOD}, False, (False, "its node has /shared/runs (--out) and /shared/cache (--cache)")),
        ({"a": GOOD, "b": GOOD}, False, (False, "all 2 nodes share /shared/runs (--out) and /shared/cache (--cache)")),
        (
            {"a": GOOD, "b": BLIND, "c": NodeAnswer(("--cache",), ("--out",), SAME)},
            False,
            (
                True,
                "b does not see /shared/runs (--out), c does not write /shared/runs (--out), "
                "b and c do not see /shared/cache (--cache)",
            ),
        ),
        ({"a": GOOD}, True, (True, "the cluster's autoscaler may add nodes that do not share the folders")),
        ({"a": BLIND}, True, (True, "the cluster's autoscaler may add nodes that do not share the folders")),
    ],
)
def test_files_stay_in_shared_folders_where_every_node_that_can_run_a_trial_has_them(answers, may_grow, expected):
    assert transfer_of(answers, (OUT, CACHE), may_grow) == Transfer(*expected)


@pytest.mark.parametrize(
    ("theirs", "errors"),
    [
        ({"torch": "2.13.0+cu126"}, []),  # another build of the same version
        ({"torch": "2.12.0"}, ["torch: must have one version on all nodes, got 2.13.0 here and 2.12.0 on b"]),
        ({"mlflow": "1.0"}, []),  # only the driver uses it
    ],
)
def test_versions_that_shape_a_trial_must_agree(theirs, errors: list[str]):
    assert version_errors(SAME | theirs, SAME, "b") == errors


def test_a_node_that_joins_late_must_have_the_drivers_versions_and_see_what_all_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("study.machines.fit_node.SECONDS_TO_APPEAR", 0.0)
    check_versions(versions(COMPARED))
    check_seen((tmp_path,))
    with pytest.raises(UnfitNodeError, match=r"torch: must have one version on all nodes, got 1\.0 here and 2"):
        check_versions(versions(COMPARED) | {"torch": "1.0"})
    with pytest.raises(UnfitNodeError, match=f"^{tmp_path}/runs: all nodes shared it .* sends files through Ray$"):
        check_seen((tmp_path, tmp_path / "runs"))


@pytest.mark.slow
def test_a_real_node_is_asked_and_nothing_is_left_behind(ray: None, tmp_path: Path):
    names = {node["NodeID"]: "here" for node in ray_module.nodes() if node["Alive"]}
    shared = (SharedFolder("--out", tmp_path / "new/out", True), SharedFolder("--cache", tmp_path / "cache", False))
    found, transfer = check_nodes({**names, "e" * len(next(iter(names))): "one that has left"}, shared)
    assert found == [] and not transfer.through_ray and transfer.reason.startswith("its node has ")
    assert not list((tmp_path / "new/out").iterdir()) and not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("")
    (error,), _ = check_nodes(names, (SharedFolder("--out", tmp_path / "file", True),))
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
