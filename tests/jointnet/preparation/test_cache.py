import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from other_hosts import NO_FLOCK, OTHER_HOST
from scans import pair, prepared, scan, write_patient

from jointnet.data.folder import find_patients
from jointnet.errors import DataError
from jointnet.preparation import cache
from jointnet.preparation.cache import CachedPatient, default_cache, fingerprint, fingerprint_of_files, prepare
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.preparation.prepared_patient import class_counts, prepare_patient


@pytest.fixture
def one(tmp_path):
    write_patient(tmp_path / "scans", 1, *pair())
    return list(find_patients(tmp_path / "scans").values())


def content(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_cached_patient_is_what_preparation_gives(one, tmp_path):
    (cached,) = prepare(one, tmp_path / "cache")
    images, labels, field, description = prepare_patient(one[0])
    np.testing.assert_array_equal(cached.images(), images)
    np.testing.assert_array_equal(cached.labels(), labels)
    np.testing.assert_array_equal(cached.field(), field)
    assert cached.slices == len(labels)
    assert json.loads((cached.path / "description.json").read_text()) == description
    assert isinstance(cached.images(), np.memmap)
    assert not cached.images().flags.writeable
    assert isinstance(cached.field(), np.memmap) and not cached.field().flags.writeable


def test_a_second_call_prepares_nothing(one, tmp_path, monkeypatch):
    (first,) = prepare(one, tmp_path / "cache")
    monkeypatch.setattr(cache, "prepare_patient", lambda _: pytest.fail("prepared again"))
    assert prepare(one, tmp_path / "cache") == [first]
    assert content(tmp_path / "cache") == [first.digest]


@pytest.mark.parametrize("role", ["cine", "lge", "cine_label", "lge_label"])
def test_another_content_of_any_file_has_another_digest(one, tmp_path, role):
    (before,) = prepare(one, tmp_path / "cache")
    cine, lge = pair()
    changed = {"cine": cine.image, "lge": lge.image, "cine_label": cine.label, "lge_label": lge.label}[role]
    changed[0, 0, 0] = 500
    write_patient(tmp_path / "scans", 1, cine, lge)
    (after,) = prepare(one, tmp_path / "cache")
    assert before.digest != after.digest
    assert len(content(tmp_path / "cache")) == 2


def test_other_rules_have_another_digest(one, tmp_path, monkeypatch):
    (before,) = prepare(one, tmp_path / "cache")
    monkeypatch.setattr(cache, "RULES", cache.RULES + " and more")
    (after,) = prepare(one, tmp_path / "cache")
    assert before.digest != after.digest


def test_the_same_content_elsewhere_is_the_same_patient(one, tmp_path):
    for role in ("cine", "lge", "cine_label", "lge_label"):
        source = getattr(one[0], role)
        target = tmp_path / "moved" / "deeper" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    moved = list(find_patients(tmp_path / "moved").values())
    assert prepare(one, tmp_path / "cache")[0].digest == prepare(moved, tmp_path / "cache")[0].digest


def test_patients_come_in_the_order_asked_for_and_progress_is_told(scan_folder, tmp_path):
    found = find_patients(scan_folder)
    told = []
    cached = prepare([found["3"], found["1"]], tmp_path, lambda done, total: told.append((done, total)))
    assert [patient.patient for patient in cached] == ["3", "1"]
    assert told == [(1, 2), (2, 2)]


def test_fingerprint_knows_no_order_but_numbers_and_contents(tmp_path):
    first, second = CachedPatient("1", tmp_path, "a"), CachedPatient("2", tmp_path, "b")
    assert fingerprint([first, second]) == fingerprint(iter([second, first]))
    others = [
        [first],
        [second],
        [],
        [first, CachedPatient("2", tmp_path, "c")],
        [CachedPatient("2", tmp_path, "a"), CachedPatient("1", tmp_path, "b")],
    ]
    digests = {fingerprint(patients) for patients in others}
    assert len(digests) == len(others)
    assert fingerprint([first, second]) not in digests
    assert fingerprint([first]) == fingerprint([CachedPatient("1", tmp_path / "elsewhere", "a")])


def test_two_at_once_prepare_a_patient_once(one, tmp_path, monkeypatch):
    calls, together = [], threading.Barrier(2, timeout=20)
    real_digest = cache._digest

    def counted(files):
        calls.append(files.patient)
        return prepare_patient(files)

    def meet(files):
        digest = real_digest(files)
        together.wait()
        return digest

    monkeypatch.setattr(cache, "prepare_patient", counted)
    monkeypatch.setattr(cache, "_digest", meet)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: prepare(one, tmp_path / "cache"), range(2)))
    assert calls == ["1"]
    assert results[0] == results[1]


ASK = """
import json, sys, time
from pathlib import Path
from jointnet.preparation import cache
from jointnet.data.folder import find_patients

scans, folder, go = map(Path, sys.argv[1:])
own, real = [], cache.prepare_patient
cache.prepare_patient = lambda files: own.append(files.patient) or real(files)
files = list(find_patients(scans).values())
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
found = cache.prepare(files, folder)
print(json.dumps({"own": own, "digests": [patient.digest for patient in found]}))
"""


def test_two_processes_that_start_at_once_prepare_each_patient_once(scan_folder, tmp_path):
    command = [sys.executable, "-c", ASK, str(scan_folder), str(tmp_path / "cache"), str(tmp_path / "go")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 2
    (tmp_path / "go").touch()
    told = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(told[0]["own"] + told[1]["own"]) == ["1", "2", "3", "4", "5"]
    assert told[0]["digests"] == told[1]["digests"] == content_in_order(scan_folder, tmp_path / "cache")


KILLED = """
import sys, time
from pathlib import Path
from jointnet.preparation import cache
from jointnet.data.folder import find_patients

cache.prepare_patient = lambda files: print("preparing", flush=True) or time.sleep(60)
cache.prepare(list(find_patients(Path(sys.argv[1])).values())[:1], Path(sys.argv[2]))
"""


def killed_preparation(scans, folder, script=KILLED, host=()):
    command = [*host, sys.executable, "-c", script, str(scans), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout.readline() != "preparing\n":
        pytest.skip(f"no other host name is to be had here: {process.communicate()[1]}")
    process.kill()
    process.communicate()
    assert len([name for name in content(folder) if ".part-" in name]) == 1


def test_what_a_killed_preparation_left_is_cleared(scan_folder, tmp_path):
    killed_preparation(scan_folder, tmp_path)
    found = prepare(list(find_patients(scan_folder).values()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(patient.digest for patient in found)


def test_on_a_disk_without_flock_a_job_killed_on_another_host_is_named_and_blocks_for_minutes_only(
    scan_folder, tmp_path
):
    killed_preparation(scan_folder, tmp_path / "cache", NO_FLOCK + KILLED, OTHER_HOST)
    (tmp_path / "go").touch()
    command = [sys.executable, "-c", NO_FLOCK + ASK, str(scan_folder), str(tmp_path / "cache"), str(tmp_path / "go")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stuck = threading.Timer(60, process.kill)
    stuck.start()
    said = process.stderr.readline()
    for record in (tmp_path / "cache").glob("*.owner"):
        os.utime(record, (0, 0))  # as if the owner had been silent for long
    told, more = process.communicate()
    stuck.cancel()
    assert process.returncode == 0, said + more
    assert " on elsewhere since " in said and f"remove {tmp_path / 'cache'}" in said
    assert json.loads(told.splitlines()[-1])["own"] == ["2", "3", "4", "5", "1"]
    assert not [name for name in content(tmp_path / "cache") if "." in name]


def content_in_order(scans, folder):
    """Return the digests in the order of the patients, from a further call that finds all of them in the cache."""
    before = content(folder)
    digests = [patient.digest for patient in prepare(list(find_patients(scans).values()), folder)]
    assert before == sorted(digests)
    return digests


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 3)


def test_in_parallel_give_what_one_after_the_other_gives(scan_folder, tmp_path, monkeypatch):
    files = list(find_patients(scan_folder).values())
    alone = prepare(files, tmp_path / "alone")
    threads = set()
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 3)
    real = cache.prepare_patient
    monkeypatch.setattr(cache, "prepare_patient", lambda each: threads.add(threading.get_ident()) or real(each))
    told = []
    together = prepare(files, tmp_path / "together", lambda done, total: told.append((done, total)))
    assert threading.get_ident() not in threads
    assert told == [(done, 5) for done in range(1, 6)]
    assert [patient.digest for patient in together] == [patient.digest for patient in alone]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.images(), other.images())
        np.testing.assert_array_equal(one.labels(), other.labels())


@pytest.mark.usefixtures("three_threads")
def test_a_full_cache_starts_no_threads(scan_folder, tmp_path, monkeypatch):
    files = list(find_patients(scan_folder).values())
    first = prepare(files, tmp_path)
    monkeypatch.setattr(cache, "ThreadPoolExecutor", lambda *_: pytest.fail("started threads"))
    assert prepare(files, tmp_path) == first


@pytest.mark.usefixtures("three_threads")
def test_in_parallel_name_all_errors_in_the_patients_order(tmp_path):
    paths = []
    for number in range(1, 7):
        cine, lge = pair(seed=number)
        lge.label[0, 0, 0] = 0 if number % 2 else 9
        paths.append(write_patient(tmp_path / "scans", number, cine, lge)["lge_label"])
    told = []
    with pytest.raises(DataError) as caught:
        files = list(find_patients(tmp_path / "scans").values())
        prepare(files, tmp_path / "cache", lambda *done: told.append(done), ["known"])
    assert [error.split(": ")[0] for error in caught.value.errors] == ["known", *map(str, paths[1::2])]
    assert told[-1] == (6, 6)
    assert len(content(tmp_path / "cache")) == 3


@pytest.mark.usefixtures("three_threads")
def test_an_interruption_of_in_parallel_is_passed_on_and_starts_no_more(scan_folder, tmp_path, monkeypatch):
    asked, real = [], cache.prepare_patient

    def interrupted(files):
        asked.append(files.patient)
        if files.patient == "1":
            raise KeyboardInterrupt
        time.sleep(0.5)
        return real(files)

    monkeypatch.setattr(cache, "prepare_patient", interrupted)
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        prepare(list(find_patients(scan_folder).values()), tmp_path)
    assert "5" not in asked
    assert not [name for name in content(tmp_path) if ".part-" in name]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_preparation_leaves_no_half_folder(one, tmp_path, monkeypatch, interruption):
    save, saved = np.save, []

    def interrupted(path, array):
        saved.append(path)
        if len(saved) == 2:
            raise interruption("stop")
        save(path, array)

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(interruption):
        prepare(one, tmp_path / "cache")
    assert len(saved) == 2
    assert content(tmp_path / "cache") == []
    monkeypatch.setattr(np, "save", save)
    assert prepare(one, tmp_path / "cache")[0].slices == 4


def test_every_error_of_every_patient_comes_in_one_error(tmp_path):
    cine, lge = pair()
    expected = []
    paths = write_patient(tmp_path / "scans", 1, cine, lge)  # an error in the header
    (tmp_path / "scans/patient1_C0.nii.gz").write_bytes(b"no scan")
    expected.append(paths["cine"])
    nan = scan(cine.affine, cine.image.shape)
    nan.image[0, 0, 0] = np.nan
    expected.append(write_patient(tmp_path / "scans", 2, nan, lge)["cine"])
    write_patient(tmp_path / "scans", 3, cine, lge)
    wrong = scan(lge.affine, lge.image.shape)
    wrong.label[0, 0, 0] = 9
    expected.append(write_patient(tmp_path / "scans", 4, cine, wrong)["lge_label"])
    far = lge.affine.copy()
    far[2, 3] += 900
    expected.append(write_patient(tmp_path / "scans", 5, cine, scan(far, lge.image.shape))["lge"])
    cut = write_patient(tmp_path / "scans", 6, cine, lge)["lge_label"]
    cut.write_bytes(cut.read_bytes()[:-40])
    expected.append(cut)
    with pytest.raises(DataError) as caught:
        prepare(list(find_patients(tmp_path / "scans").values()), tmp_path / "cache")
    named = sorted(error.split(": ")[0] for error in caught.value.errors)
    assert named == sorted(map(str, expected))


def test_a_header_error_hides_no_other_error_of_the_same_patient(tmp_path):
    cine, lge = pair()
    cine.image[0, 0, 0] = np.nan
    paths = write_patient(tmp_path / "scans", 1, cine, lge)
    paths["lge_label"].write_bytes(b"no scan")
    with pytest.raises(DataError) as caught:
        prepare(list(find_patients(tmp_path / "scans").values()), tmp_path / "cache")
    named = {error.split(": ")[0] for error in caught.value.errors}
    assert named == {str(paths["cine"]), str(paths["lge_label"])}


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [("/a/b", "/c", "/a/b"), (None, "/c", "/c/jointnet"), ("", "/c", "/c/jointnet")],
)
def test_the_cache_folder_follows_the_environment(monkeypatch, own, shared, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    monkeypatch.delenv("JOINTNET_CACHE", raising=False)
    if own is not None:
        monkeypatch.setenv("JOINTNET_CACHE", own)
    assert str(default_cache()) == expected


def test_without_a_folder_the_default_cache_is_used(one, tmp_path, monkeypatch):
    monkeypatch.setenv("JOINTNET_CACHE", str(tmp_path / "own"))
    (cached,) = prepare(one)
    assert cached.path.parent == tmp_path / "own"


def labels_of(slices, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (slices, 2, 224, 224), dtype=np.uint8)


def by_blocks(array, block):
    side = array.shape[-1] // block
    return array.reshape(*array.shape[:-2], side, block, side, block)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_network_arrays_are_block_means_to_half_precision_counts_and_blocks_wholly_in_the_field(tmp_path, block):
    field = np.random.default_rng(3).random((2, 224, 224)) < 0.9
    patient = prepared(tmp_path, 1, labels_of(2), field=field)
    images, counts, whole = patient.network_arrays(block)
    exact = by_blocks(np.asarray(patient.images(), np.float64), block).mean((3, 5))
    assert images.dtype == np.float16
    np.testing.assert_allclose(images, exact, rtol=2**-11 * 1.001, atol=2**-24)
    np.testing.assert_array_equal(counts, class_counts(np.asarray(patient.labels()), block))
    np.testing.assert_array_equal(whole, by_blocks(field, block).all((2, 4)))


@pytest.mark.parametrize("block", [1, 2])
def test_network_arrays_are_mapped_read_only_and_made_once(tmp_path, monkeypatch, block):
    patient = prepared(tmp_path, 1, labels_of(2))
    first = patient.network_arrays(block)
    monkeypatch.setattr(CachedPatient, "_write_network_arrays", lambda *_: pytest.fail("made again"))
    for arrays in (first, patient.network_arrays(block)):
        for array in arrays:
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
    np.testing.assert_array_equal(patient.network_arrays(block).images, first.images)


def test_other_blocks_and_other_rules_have_other_network_arrays(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    assert patient.network_arrays(2).images.shape[-1] == 112
    assert patient.network_arrays(4).images.shape[-1] == 56
    made = []
    real = CachedPatient._write_network_arrays
    monkeypatch.setattr(CachedPatient, "_write_network_arrays", lambda *all: made.append(all) or real(*all))
    patient.network_arrays(2)
    assert not made
    monkeypatch.setattr(cache, "NETWORK_ARRAYS_VERSION", "another")
    patient.network_arrays(2)
    assert len(made) == 1


def test_ten_at_once_make_network_arrays_once(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    together, made, real = threading.Barrier(10, timeout=20), [], CachedPatient._write_network_arrays
    monkeypatch.setattr(CachedPatient, "_write_network_arrays", lambda *all: made.append(all) or real(*all))

    def ask(_):
        together.wait()
        return patient.network_arrays(2)

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    assert len(made) == 1
    for arrays in found:
        np.testing.assert_array_equal(arrays.counts, found[0].counts)
        np.testing.assert_array_equal(arrays.field, found[0].field)


def test_interrupted_network_arrays_leave_nothing_behind(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    before = sorted(path.name for path in patient.path.iterdir())
    save = np.save

    def full(path, array):
        if path.name == "counts.npy":
            raise OSError("no space left")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        patient.network_arrays(2)
    assert sorted(path.name for path in patient.path.iterdir()) == before


def test_where_the_cache_cannot_be_written_to_network_arrays_are_in_memory(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    kept = prepared(tmp_path / "other", 1, labels_of(1)).network_arrays(2)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    arrays = patient.network_arrays(2)
    assert not isinstance(arrays.images, np.memmap)
    np.testing.assert_array_equal(arrays.images, kept.images)
    np.testing.assert_array_equal(arrays.counts, kept.counts)
    np.testing.assert_array_equal(arrays.field, kept.field)
    assert not list(patient.path.glob("network-*"))


DESCRIPTIONS = {
    "label values of cine": {"cine_values": LabelValues((("lv", (1,)), ("myo", (2,)), ("rv", (3,))))},
    "label values of LGE": {"lge_values": LabelValues((("lv", (1,)), ("myo", (2,)), ("rv", (3,))))},
    "an ignored value": {"lge_values": replace(CHALLENGE_VALUES, ignored=(7,))},
    "a frame": {"cine_frame": 0},
    "another frame": {"cine_frame": 1},
    "a structure that nobody drew": {"unlabelled": frozenset({("cine", "rv")})},
    "the same in LGE": {"unlabelled": frozenset({("lge", "rv")})},
    "no segmentation of cine": {"cine_label": None},
    "no segmentation of LGE": {"lge_label": None},
    "no segmentation": {"cine_label": None, "lge_label": None},
}


def test_every_description_of_the_same_files_has_its_own_digest(one):
    described = [one[0], *(replace(one[0], **changes) for changes in DESCRIPTIONS.values())]
    described.append(replace(one[0], cine_label=one[0].lge_label, lge_label=None))  # the content of "no ... of cine"
    assert len({fingerprint_of_files([files]) for files in described}) == len(described)


def test_what_changes_no_array_changes_no_digest(one):
    reordered = LabelValues(CHALLENGE_VALUES.structures[::-1], scar=(200,))
    assert fingerprint_of_files([replace(one[0], cine_values=reordered)]) == fingerprint_of_files(one)


def test_the_digest_of_the_challenge_s_files_is_that_of_their_content(one):
    """So that patients prepared before descriptions existed are still found."""
    expected = hashlib.sha256(cache.RULES.encode())
    for path in one[0].paths:
        expected.update(hashlib.sha256(path.read_bytes()).digest())
    assert cache._digest(one[0]) == expected.hexdigest()[:24]
