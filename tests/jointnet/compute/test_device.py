import pytest
import torch
from torch import nn

from jointnet.compute.device import computing_in, resolve_device, training_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_convolution_computes_in_the_precision(precision):
    layer = nn.Conv2d(1, 1, 1)
    with computing_in(precision, CPU):
        assert layer(torch.ones(1, 1, 2, 2)).dtype is precision
    assert layer(torch.ones(1, 1, 2, 2)).dtype is torch.float32


@pytest.mark.parametrize(("has_16_bits", "precision"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_trains_in_16_bits_where_it_has_them(monkeypatch, has_16_bits, precision):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_16_bits)
    assert training_precision(CPU) is precision


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_trains_in_16_bits_of_one_kind_or_the_other(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert training_precision(torch.device("cuda")) is precision


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("precision", "allowed"), [(torch.float32, False), (torch.bfloat16, True)])
def test_a_gpus_convolutions_are_exact_in_32_bits(monkeypatch, precision, allowed):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    with computing_in(precision, torch.device("cuda")):
        assert torch.backends.cudnn.allow_tf32 is allowed
    with computing_in(precision, CPU):
        assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_a_gpu_that_others_fill_is_no_wrong_device(monkeypatch):
    def full(*_, **__):
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        resolve_device("cuda")


def test_other_devices_train_in_32_bits():
    assert training_precision(torch.device("mps")) is torch.float32
