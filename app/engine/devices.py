"""Devices and dtypes of an engine: defaults, and checks of what the settings request."""

import torch

from app.core.errors import SettingsError

BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Default tokens of a batch by device type.

On two CPU cores batches of 2048 tokens give 3 % more ads a second than those of 1024, but double
the time that an arriving ad waits for the running batch; those of 512 give 7 % fewer and halve it.
"""

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,
}
"""The dtypes to compute in by name, each with the dtype that the weights are loaded in.

For int8 the encoder's linear layers are quantized after loading.
"""

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
"""Whether this torch was built with oneDNN."""


def resolve_device(requested: str) -> torch.device:
    """Return the device to use; "auto" is the first CUDA device, or the CPU if there is none.

    Raises:
        SettingsError: the device is unknown or not present.
    """
    if requested == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise SettingsError(
            f"DEVICE has to be auto, cpu, cuda or cuda:N, not '{requested}'."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"DEVICE has to be auto, cpu, cuda or cuda:N, not '{requested}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"DEVICE is '{requested}', but there are {torch.cuda.device_count()} CUDA devices."
        )
    return device


def resolve_dtype(requested: str, device: torch.device, has_onednn: bool = HAS_ONEDNN) -> str:
    """Return the name of the dtype to compute in.

    Args:
        requested: "auto" or one of `DTYPES`.
        device: the device to compute on.
        has_onednn: whether torch was built with oneDNN, which computes in int8.

    Raises:
        SettingsError: the dtype is unknown, or not supported on the device.
    """
    if requested == "auto":
        if device.type == "cpu":
            return "float32"
        # More exact than bfloat16 at the same speed; the warm-up refuses a model that overflows it.
        return "float16"
    if requested not in DTYPES:
        raise SettingsError(f"DTYPE has to be auto, {', '.join(DTYPES)}, not '{requested}'.")
    if device.type == "cpu" and requested == "float16":
        raise SettingsError(
            "DTYPE float16 is for CUDA; a CPU computes in float32, bfloat16 or int8."
        )
    if device.type == "cuda" and requested == "int8":
        raise SettingsError(
            "DTYPE int8 is for CPUs; CUDA computes in float16, bfloat16 or float32."
        )
    if requested == "int8" and not has_onednn:
        raise SettingsError("DTYPE int8 needs a torch built with oneDNN; use float32.")
    return requested


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of a forward pass means that the device's memory was exhausted."""
    # torch has a class for this error on a GPU; on a CPU the message names the allocator.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )
