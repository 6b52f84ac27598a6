"""The viewer of predictions: access to its pages, and the orientation of volumes on the screen, without a browser."""

import hashlib
import http.client
import itertools
import json
import threading

import numpy as np
import pytest
import torch
from scans import affine_about, axes, stir, tiny_settings

from jointnet.model_file import save_model
from jointnet.networks import build_model
from jointnet.predict import __main__ as predict
from jointnet.preparation.grid import Stack
from jointnet.view.__main__ import main
from jointnet.view.predictions import FILES, direction_letters, find_predictions, screen_layout
from jointnet.view.server import Site, serve

SECRET = "s3cret"


@pytest.fixture(scope="module")
def predicted(scan_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    settings = tiny_settings(model__name="joint")
    torch.manual_seed(0)
    save_model(folder / "model.pt", stir(build_model(settings)).state_dict(), settings, {"training": [9]}, 1)
    given = ["--model", folder / "model.pt", "--data", scan_folder, "--patients", "1-2", "--out", folder / "out"]
    assert predict.main([*map(str, given), "--device", "cpu"]) == 0
    (folder / "outside.txt").write_text("outside")
    return folder / "out"


@pytest.fixture(scope="module")
def server(predicted):
    running = serve(Site(find_predictions(predicted), SECRET), 0)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def ask(server, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_it_listens_on_the_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("name", ["", "page.js", "page.css", "niivue.umd.js", "LICENSES.txt", "results.json"])
def test_the_page_is_served_with_headers_that_keep_it_alone(server, name):
    answer, body = ask(server, f"/{SECRET}/{name}")
    assert answer.status == 200
    assert len(body) == int(answer.headers["Content-Length"]) > 0
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    sources = {word for part in policy.split(";") for word in part.split()[1:]}
    assert sources == {"'none'", "'self'", "data:", "blob:"}
    head, nothing = ask(server, f"/{SECRET}/{name}", "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("name", FILES)
def test_files_are_served_as_they_are(server, predicted, name):
    for number, patient in enumerate(("patient1", "patient2")):
        answer, body = ask(server, f"/{SECRET}/results/{number}/{name}")
        assert answer.status == 200
        assert body == (predicted / patient / name).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        f"/{SECRET}/results/0/../../outside.txt",
        f"/{SECRET}/results/0/..%2f..%2foutside.txt",
        f"/{SECRET}/results/0/%2e%2e/%2e%2e/outside.txt",
        f"/{SECRET}/results/../../../../etc/passwd",
        f"/{SECRET}//etc/passwd",
        f"/{SECRET}/../results.json",
        f"/{SECRET}/results/0//etc/passwd",
        f"/{SECRET}/results/0/provenance.json",
        f"/{SECRET}/results/2/cine.nii.gz",
        f"/{SECRET}/results/-1/cine.nii.gz",
        f"/{SECRET}/results/99999999999999999999/cine.nii.gz",
        f"/{SECRET}/results/0/",
        f"/{SECRET}/results",
        f"/{SECRET}/__init__.py",
        f"/{SECRET}/static/page.js",
        "/",
        "/wrong/",
        "/results.json",
        "/%C3%A9/",
        "*",
    ],
)
def test_nothing_else_is_served(server, path):
    answer, body = ask(server, path)
    assert answer.status == 404
    assert b"outside" not in body
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_link_that_leads_out_of_the_folder_is_not_followed(scan_folder, predicted, tmp_path):
    copy = tmp_path / "patient1"
    copy.mkdir()
    for path in (predicted / "patient1").iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    (copy / "quality.png").unlink()
    (copy / "quality.png").symlink_to(predicted.parent / "outside.txt")
    site = Site(find_predictions(copy), SECRET)
    assert site.answer("GET", f"/{SECRET}/results/0/quality.png", "localhost").status == 404
    assert site.answer("GET", f"/{SECRET}/results/0/cine.nii.gz", "localhost").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "0.0.0.0", "", "[", "a b"]
)
def test_a_foreign_name_is_refused(server, host):
    assert ask(server, f"/{SECRET}/", host=host or " ")[0].status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:8080"])
def test_this_machine_s_names_are_not(server, host):
    assert ask(server, f"/{SECRET}/", host=host)[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_can_be_sent(server, method):
    answer, _ = ask(server, f"/{SECRET}/", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_what_the_page_is_told(server, predicted):
    told = json.loads(ask(server, f"/{SECRET}/results.json")[1])
    assert [result["name"] for result in told] == ["patient1", "patient2"]
    for result in told:
        assert set(result["files"]) == set(FILES)
        assert result["covered"] == [0, 1]
        assert len(result["slices"]) == 2
        assert result["field_mm"] == pytest.approx([56 * 2.5, 52 * 2.5])
    assert str(predicted) not in json.dumps(told)


def stored(first, second, third, swap):
    """Return a short-axis stack with array axes reversed or swapped, and (column, row) of its voxel (0, 0)."""
    shape, spacing = (40, 30, 6), np.array([1.5, 2.0, 8.0])
    directions = axes() * np.array([first, second, third])[:, None]
    affine = affine_about(directions, spacing, shape)
    if swap:
        affine, shape = affine[:, [1, 0, 2, 3]], (30, 40, 6)
    return Stack(affine, shape)


@pytest.mark.parametrize("first, second, third, swap", itertools.product((1, -1), (1, -1), (1, -1), (False, True)))
def test_however_it_is_stored_it_lies_the_same_on_the_screen(first, second, third, swap):
    stack = stored(first, second, third, swap)
    layout = screen_layout(stack)
    voxels = np.array(list(itertools.product(*(range(length) for length in stack.shape))), float)
    on_screen = voxels @ layout[:3, :3].T + layout[:3, 3]
    offset = stack.world(voxels) - stack.world((np.array(stack.shape) - 1) / 2)
    column, row, _ = axes()
    np.testing.assert_allclose(on_screen[:, 0], offset @ column, atol=1e-9)
    np.testing.assert_allclose(on_screen[:, 1], -(offset @ row), atol=1e-9)
    np.testing.assert_allclose(on_screen[:, 2], (voxels[:, 2] - 2.5) * 8.0, atol=1e-9)


@pytest.mark.parametrize(
    "direction, expected",
    [((1, 0, 0), "R"), ((-1, 0, 0), "L"), ((0, 1, 0), "A"), ((0, 0, -1), "I"), ((-0.64, -0.74, -0.2), "PL")],
)
def test_directions_are_named_by_the_patient_s_sides(direction, expected):
    assert direction_letters(np.array(direction, float)) == expected


def test_the_library_is_the_published_one():
    from importlib import resources

    static = resources.files("jointnet.view") / "static"
    digest = hashlib.sha256((static / "niivue.umd.js").read_bytes()).hexdigest()
    licences = (static / "LICENSES.txt").read_text(encoding="utf-8")
    assert f"SHA-256 {digest}" in licences
    assert "BSD 2-Clause" in licences


@pytest.mark.parametrize(
    "make, more, status, told",
    [
        (lambda folder: None, [], 2, "must be a folder"),
        (lambda folder: folder.mkdir(), [], 2, "must contain a provenance.json"),
        (lambda folder: folder.mkdir(), ["--port", "70000"], 2, "--port"),
        (
            lambda folder: (folder.mkdir(), (folder / "provenance.json").write_text("{}")),
            [],
            3,
            "must contain cine.nii.gz",
        ),
    ],
)
def test_what_cannot_be_shown(tmp_path, make, more, status, told, capsys):
    make(tmp_path / "in")
    assert main(["--folder", str(tmp_path / "in"), *more]) == status
    assert told in capsys.readouterr().err


def test_a_damaged_record_and_a_taken_port_are_told(server, predicted, tmp_path, capsys):
    assert main(["--folder", str(predicted), "--port", str(server.server_port)]) == 2
    assert "--port: must be free" in capsys.readouterr().err
    for path in (predicted / "patient1").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "provenance.json").write_text("{ruined")
    assert main(["--folder", str(tmp_path)]) == 3
    assert "must be what" in capsys.readouterr().err
