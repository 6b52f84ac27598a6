import pytest

from study.selection.held_out import device_here


@pytest.mark.parametrize(
    ("device", "has_gpu", "here"), [("cpu", True, "cpu"), ("cuda", True, "cuda"), ("cuda", False, "cpu")]
)
def test_a_driver_without_a_gpu_tests_on_its_cpu(
    device: str, has_gpu: bool, here: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    assert device_here(device) == here
