"""Devices and dtypes that an engine computes on, and how the wanted ones are resolved."""

import torch

from app.core.errors import SettingsError

BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Tokens of a batch by device, where nobody says otherwise.

On two cores batches of 2048 answer 3 % more ads a second than those of 1024, and those of 512 about
7 % fewer; but whoever comes next waits twice as long, and half as long.
"""


DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,
}
"""What can be computed in, with the type the weights are loaded in; int8 rounds those of the
encoder's layers afterwards.
"""


HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def resolve_device(wanted: str) -> torch.device:
    """Return the device to use; "auto" takes the first CUDA device there is.

    Raises:
        SettingsError: the device is unknown or not there.
    """
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise SettingsError(
            f"DEVICE has to be auto, cpu, cuda or cuda:N, not '{wanted}'."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"DEVICE has to be auto, cpu, cuda or cuda:N, not '{wanted}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"DEVICE is '{wanted}', but {torch.cuda.device_count()} CUDA devices are there."
        )
    return device


def out_of_memory(error: Exception) -> bool:
    """Tell whether an error of a pass says that memory did not suffice, on whatever device."""
    # torch has an error of its own for this on a GPU; on a CPU only the allocator's name tells.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


def resolve_dtype(wanted: str, device: torch.device, onednn: bool = HAS_ONEDNN) -> str:
    """Return the name of the dtype to compute in.

    Args:
        wanted: "auto" or one of `DTYPES`.
        device: where.
        onednn: whether torch was built with the library that multiplies in int8.

    Raises:
        SettingsError: the dtype is unknown, or the device cannot compute in it.
    """
    if wanted == "auto":
        if device.type == "cpu":
            return "float32"
        # More exact than bfloat16 at the same speed; the warm-up refuses a model that overflows it.
        return "float16"
    if wanted not in DTYPES:
        raise SettingsError(f"DTYPE has to be auto, {', '.join(DTYPES)}, not '{wanted}'.")
    if device.type == "cpu" and wanted == "float16":
        raise SettingsError(
            "DTYPE float16 is for CUDA; a CPU computes in float32, bfloat16 or int8."
        )
    if device.type == "cuda" and wanted == "int8":
        raise SettingsError(
            "DTYPE int8 is for CPUs; CUDA computes in float16, bfloat16 or float32."
        )
    if wanted == "int8" and not onednn:
        raise SettingsError("DTYPE int8 needs a torch built with oneDNN; use float32.")
    return wanted
