import pytest
import torch

from app.core.errors import SettingsError
from app.engine.devices import is_out_of_memory, resolve_device, resolve_dtype


def test_auto_prefers_cuda_and_float16():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_dtype("auto", torch.device("cpu")) == "float32"
    assert resolve_dtype("auto", torch.device("cuda", 0)) == "float16"


@pytest.mark.parametrize("requested", ["", "CPU", "gpu", "cuda:x", "cuda:-1", "mps", "meta"])
def test_an_unknown_device_is_refused_in_one_sentence(requested):
    with pytest.raises(SettingsError) as caught:
        resolve_device(requested)
    assert str(caught.value) == f"DEVICE has to be auto, cpu, cuda or cuda:N, not '{requested}'."


def test_a_missing_device_is_refused():
    beyond = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(SettingsError, match=f"DEVICE is '{beyond}', but"):
        resolve_device(beyond)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("requested", ["float32", "bfloat16"])
def test_both_devices_support_float32_and_bfloat16(device, requested):
    assert resolve_dtype(requested, torch.device(device)) == requested


def test_unsupported_dtypes_are_refused():
    assert resolve_dtype("float16", torch.device("cuda")) == "float16"
    with pytest.raises(SettingsError, match="DTYPE float16 is for CUDA"):
        resolve_dtype("float16", torch.device("cpu"))
    with pytest.raises(SettingsError, match=r"DTYPE has to be auto, float32, .*, not 'int4'"):
        resolve_dtype("int4", torch.device("cpu"))


def test_int8_needs_a_cpu_and_onednn():
    assert resolve_dtype("int8", torch.device("cpu"), has_onednn=True) == "int8"
    with pytest.raises(SettingsError, match="DTYPE int8 is for CPUs; CUDA computes in float16"):
        resolve_dtype("int8", torch.device("cuda", 0))
    with pytest.raises(SettingsError, match="DTYPE int8 needs a torch built with oneDNN"):
        resolve_dtype("int8", torch.device("cpu"), has_onednn=False)


@pytest.mark.parametrize(
    ("error", "recognised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("a bug"), False),
    ],
)
def test_errors_of_exhausted_memory_are_recognised(error, recognised):
    assert is_out_of_memory(error) is recognised
