"""The benchmark of registration: what it times, and the structures that it counts."""

from pathlib import Path

import numpy as np
import pytest
import scans
import torch

from jointnet.geometry import identity
from jointnet.model_file import untrained_model
from jointnet.networks.__init__ import build_model
from jointnet.networks.apply import predict

ACCURACY = Path(__file__).parents[3] / "benchmarks" / "accuracy"


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(ACCURACY)
    import registration

    return registration


def test_a_network_without_the_stages_after_it(benchmark, tmp_path):
    (patient,) = scans.easy_patients(tmp_path, 1)
    model = untrained_model("descriptors").model
    before = predict(model, patient.images(), field=patient.field()).theta
    alone = predict(benchmark.feed_forward(model), patient.images(), field=patient.field()).theta
    np.testing.assert_array_equal(alone, identity(len(alone)).numpy())
    after = predict(model, patient.images(), field=patient.field()).theta
    np.testing.assert_array_equal(after, before)
    assert np.abs(before - alone).max() > 1e-3

    trained = scans.stir(build_model(scans.tiny_settings())).eval()
    same = build_model(scans.feed_forward_settings())
    same.load_state_dict(trained.state_dict())
    expected, found = (
        predict(each, patient.images(), field=patient.field()).theta for each in (same, benchmark.feed_forward(trained))
    )
    np.testing.assert_array_equal(found, expected)


def test_the_time_is_of_predicting_on_one_thread_after_a_first_time(benchmark, tmp_path, monkeypatch):
    patients = scans.easy_patients(tmp_path, 3)
    took_s, now, threads = [100.0, 0.006, 0.002, 0.040], [0.0], torch.get_num_threads()

    def clocked(model, images, field):
        assert torch.get_num_threads() == 1 and images.shape[0] == field.shape[0] == 2
        now[0] += took_s.pop(0)

    monkeypatch.setattr(benchmark, "predict", clocked)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    torch.set_num_threads(2)
    try:
        assert benchmark.predicting_ms(torch.nn.Identity(), patients) == pytest.approx(3.0)
        assert torch.get_num_threads() == 2 and not took_s
    finally:
        torch.set_num_threads(threads)


def test_the_tables_have_medians_and_both_times_and_the_cut_structures(benchmark, tmp_path):
    whole = scans.easy_patients(tmp_path / "whole", 2)
    field = scans.whole_field(whole[0].labels())
    field[0, :, : field.shape[2] // 2] = False
    cut = scans.prepared(tmp_path / "cut", 1, np.array(whole[0].labels()), field=field)
    patients = {"whole": whole, "cut": [cut, whole[1]]}
    rows = benchmark.measured(untrained_model("descriptors").model, patients)
    assert (rows["ms"] > 0).all() and (rows["ms_feed_forward"] > 0).all()
    found = benchmark.tables(rows.assign(row="descriptors", annotated="0", seed=0))
    for line in ("lv CD median mm", "ms per slice", "ms per slice, feed-forward"):
        assert len(next(text for text in found.splitlines() if text.startswith(f"{line}  ")).split()) > len(
            line.split()
        )
    assert benchmark.cut_text(patients).endswith(": whole 0, cut 3\n")
