"""The engine: packs encoded ads, runs one forward pass, brings the logits back to the host.

The only module that touches a device.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.attention import PACKED
from app.checkpoint import Checkpoint
from app.errors import CheckpointError, EngineError, FatalEngineError, SettingsError
from app.heads import HEADS
from app.model import TwoHeadClassifier
from app.records import Encoded, Scores
from app.scoring import WindowLogits, scores

BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Tokens of a batch by device, where nobody says otherwise.

On two cores batches of 2048 answer 3 % more ads a second than those of 1024, and those of 512 about
7 % fewer; but whoever comes next waits twice as long, and half as long.
"""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch laid end to end on the host: ids and positions (1, tokens), bounds (windows + 1,)."""

    input_ids: Tensor
    position_ids: Tensor
    cu_seq_lens: Tensor
    longest: int


def pack(batch: Sequence[Encoded], position_start: int = 0) -> Packed:
    """Lay all windows of all ads end to end; positions restart with every window."""
    windows = [window for encoded in batch for window in encoded.windows]
    lengths = [len(window) for window in windows]
    positions = [np.arange(position_start, position_start + length) for length in lengths]
    bounds = np.zeros(len(windows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    return Packed(
        input_ids=torch.from_numpy(np.concatenate(windows).astype(np.int64)).unsqueeze(0),
        position_ids=torch.from_numpy(np.concatenate(positions)).unsqueeze(0),
        cu_seq_lens=torch.from_numpy(bounds),
        longest=max(lengths),
    )


class Engine:
    """A loaded checkpoint on its device. `run` may be called from several threads.

    While one call holds the device, another packs its batch, so the device waits for no packing.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", dtype: str = "auto") -> None:
        """Load a verified checkpoint.

        Args:
            checkpoint: what `open_checkpoint` returned.
            device: "auto", "cpu", "cuda" or "cuda:N".
            dtype: "auto" (float32 on a CPU, 16 bit on CUDA), or one of `DTYPES`.

        Raises:
            SettingsError: the device is not there or cannot compute in the dtype.
        """
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.name, self.revision = checkpoint.name, checkpoint.revision
        self._temperatures = {name: head.temperature for name, head in checkpoint.heads.items()}
        self._position_start = checkpoint.config.position_start()
        self._model: TwoHeadClassifier = checkpoint.model(DTYPES[self.dtype], PACKED)
        self._model.to(self.device)
        self._lock = threading.Lock()

    @staticmethod
    def devices(wanted: str) -> list[str]:
        """Return on which devices to load an engine each: all CUDA devices, or the one named.

        Raises:
            SettingsError: the device is unknown or not there.
        """
        if wanted in ("auto", "cuda") and resolve_device(wanted).type == "cuda":
            return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return [wanted]

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch that suit the device."""
        return BATCH_TOKENS[self.device.type]

    def run(self, batch: Sequence[Encoded]) -> list[Scores | EngineError]:
        """Return every ad's probabilities, in order, from one encoder pass over the whole batch.

        Where the device's memory does not suffice the batch is halved, down to one ad; an ad that
        does not fit even alone, or that overflows the dtype, gets an error in its place.

        Raises:
            FatalEngineError: the device is lost.
        """
        return [self._scores(result) for result in self.logits(batch)]

    def logits(self, batch: Sequence[Encoded]) -> list[WindowLogits | EngineError]:
        """Return every ad's raw logits, window by window; otherwise as `run`."""
        if not batch:
            return []
        try:
            rows = self._forward(pack(batch, self._position_start))
        except torch.AcceleratorError as error:
            raise FatalEngineError("The device failed; the service has to restart.") from error
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                failure = EngineError("The ad does not fit into the device's memory.")
                # Without its traceback, whose frames would keep the failed pass's tensors alive.
                failure.__cause__ = error.with_traceback(None)
                return [failure]
        else:
            return _by_ad(batch, rows)
        # Outside the handler: the traceback would keep the failed pass's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(batch) // 2
        return self.logits(batch[:middle]) + self.logits(batch[middle:])

    def warm_up(self, batch: Sequence[Encoded]) -> float:
        """Run a batch twice, as large as they come, and measure the faster pass.

        Returns:
            Tokens a second.

        Raises:
            CheckpointError: the model answers with something that is no number.
        """
        tokens = sum(encoded.tokens for encoded in batch)
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            results = self.logits(batch)
            seconds.append(time.perf_counter() - begin)
        for result in results:
            if isinstance(result, EngineError):
                raise SettingsError(
                    "The longest ad does not fit into the device's memory; lower MAX_WINDOWS."
                )
            if not _finite(result):
                raise CheckpointError(
                    f"The checkpoint {self.name} answers with NaN in {self.dtype}; "
                    "its weights are damaged or need float32."
                )
        return tokens / min(seconds)

    def _scores(self, logits: WindowLogits | EngineError) -> Scores | EngineError:
        if isinstance(logits, EngineError):
            return logits
        if not _finite(logits):
            return EngineError(f"The model answers this ad with NaN; it overflows {self.dtype}.")
        return scores(logits, self._temperatures)

    @torch.inference_mode()
    def _forward(self, packed: Packed) -> dict[str, np.ndarray]:
        with self._lock:
            output = self._model(
                input_ids=self._send(packed.input_ids),
                position_ids=self._send(packed.position_ids),
                cu_seq_lens=self._send(packed.cu_seq_lens),
                longest=packed.longest,
            )
            return {head: output[f"{head}_logits"].float().cpu().numpy() for head in HEADS}

    def _send(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _by_ad(
    batch: Sequence[Encoded], rows: dict[str, np.ndarray]
) -> list[WindowLogits | EngineError]:
    results: list[WindowLogits | EngineError] = []
    start = 0
    for encoded in batch:
        end = start + len(encoded.windows)
        results.append({head: values[start:end] for head, values in rows.items()})
        start = end
    return results


def _finite(logits: WindowLogits) -> bool:
    return all(bool(np.isfinite(values).all()) for values in logits.values())


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


def resolve_dtype(wanted: str, device: torch.device) -> str:
    """Return the name of the dtype to compute in.

    Raises:
        SettingsError: the dtype is unknown, or float16 is asked of a CPU.
    """
    if wanted == "auto":
        if device.type == "cpu":
            return "float32"
        # More exact than bfloat16 at the same speed; the warm-up refuses a model that overflows it.
        return "float16"
    if wanted not in DTYPES:
        raise SettingsError(f"DTYPE has to be auto, {', '.join(DTYPES)}, not '{wanted}'.")
    if device.type == "cpu" and wanted == "float16":
        raise SettingsError("DTYPE float16 is for CUDA; a CPU computes in float32 or bfloat16.")
    return wanted
