"""The engine: packs encoded ads, runs one forward pass, and copies the logits to the host.

While the service runs, only the engine uses the device.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from app.core.errors import CheckpointError, EngineError, FatalEngineError, SettingsError
from app.core.gaps import fill_gaps
from app.core.head_labels import HEADS
from app.core.postprocessing import WindowLogits, scores
from app.core.types import EncodedAd, FloatArray, Scores
from app.engine.add_norm_kernel import compiled_add_norm
from app.engine.cuda_graphs import CudaGraphs, cuda_capture
from app.engine.devices import (
    BATCH_TOKENS,
    DTYPES,
    HAS_ONEDNN,
    is_out_of_memory,
    resolve_device,
    resolve_dtype,
)
from app.engine.fused_layer import fuse_layers
from app.engine.int8_linear import quantize_linears
from app.engine.onednn_linear import can_prepack, padded_rows, prepack_layers
from app.engine.packing import PackedBatch, pack
from app.model.checkpoint import Checkpoint
from app.model.classifier import TwoHeadClassifier
from app.model.first_token_layer import FirstTokenLayer
from app.model.packed_attention import PACKED

log = logging.getLogger(__name__)


class Engine:
    """A loaded checkpoint on one device.

    `run` may be called from several threads: while one call waits for its results, another packs
    and launches its batch, so that the device never waits for the host.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", dtype: str = "auto") -> None:
        """Load a verified checkpoint.

        Args:
            checkpoint: a result of `open_checkpoint`.
            device: "auto", "cpu", "cuda" or "cuda:N".
            dtype: "auto" (float32 on a CPU, float16 on CUDA), or one of `DTYPES`.

        Raises:
            SettingsError: the device is not present or does not support the dtype.
        """
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.name, self.revision = checkpoint.name, checkpoint.revision
        self._temperatures = {name: head.temperature for name, head in checkpoint.heads.items()}
        self._position_start = checkpoint.config.position_start()
        self._model = load_model(checkpoint, self.dtype, PACKED).to(self.device)
        self._row_length = padded_rows if self.device.type == "cpu" else None
        prepacks = HAS_ONEDNN and self.dtype != "int8" and can_prepack(DTYPES[self.dtype])
        if self._in_16_bit_on_cuda():
            self._fuse_layers()
        elif self.device.type == "cpu" and prepacks:
            prepack_layers(self._model)
        self._widths = [len(checkpoint.heads[name].labels) for name in HEADS]
        self._graphs = self._make_graphs()
        self._lock = threading.Lock()

    @staticmethod
    def devices(requested: str) -> list[str]:
        """Return the devices that need an engine each: all CUDA devices, or the one requested.

        Raises:
            SettingsError: the device is unknown or not present.
        """
        if requested in ("auto", "cuda") and resolve_device(requested).type == "cuda":
            return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return [requested]

    @property
    def batch_tokens(self) -> int:
        """The default tokens of a batch for this device."""
        return BATCH_TOKENS[self.device.type]

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores | EngineError]:
        """Return the probabilities of every ad, in order, from one encoder pass over the batch.

        If the device's memory does not suffice, the batch is halved, down to single ads. An ad that
        does not fit even alone, or whose logits are not finite, gets an error in its place.

        Raises:
            FatalEngineError: the device failed, and the process has to restart.
        """
        results = self.logits(batch)
        whole = [result for result in results if not isinstance(result, EngineError)]
        scored = (
            one or EngineError(f"The model answers this ad with NaN; it overflows {self.dtype}.")
            for one in scores(whole, self._temperatures)
        )
        errors = [result if isinstance(result, EngineError) else None for result in results]
        return fill_gaps(errors, scored)

    def logits(self, batch: Sequence[EncodedAd]) -> list[WindowLogits | EngineError]:
        """Return the raw logits of every ad's windows, finite or not; otherwise like `run`."""
        if not batch:
            return []
        try:
            logits = self._forward(pack(batch, self._position_start, self._row_length))
        except torch.AcceleratorError as error:
            raise FatalEngineError("The device failed; the service has to restart.") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                failure = EngineError("The ad does not fit into the device's memory.")
                # Without its traceback, whose frames would keep the tensors of the failed pass.
                failure.__cause__ = error.with_traceback(None)
                return [failure]
        else:
            return _split_by_ad(batch, logits)
        # Outside the handler, where the traceback would keep the tensors of the failed pass.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(batch) // 2
        return self.logits(batch[:middle]) + self.logits(batch[middle:])

    def close(self) -> None:
        """Free the model's memory; nothing can be run afterwards."""
        with self._lock, self._on_device():
            # The graphs hold device memory, and refer to this object through its `_logits`.
            del self._model, self._graphs
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def warm_up(self, batch: Sequence[EncodedAd]) -> float:
        """Run a batch and measure its speed.

        It runs twice where the first pass loads or compiles kernels; then the faster one counts. On
        CUDA in 16 bit, graphs for all batches of up to this size are captured before.

        Args:
            batch: as large as the largest batch that will be run.

        Returns:
            Tokens a second.

        Raises:
            CheckpointError: the model's logits are not finite.
            SettingsError: an ad of the batch does not fit into the device's memory.
        """
        tokens = sum(encoded.tokens for encoded in batch)
        self._capture(tokens)
        seconds = []
        # In floating point a CPU's first pass takes at most a tenth longer than the following ones.
        passes = 1 if self.device.type == "cpu" and self.dtype != "int8" else 2
        for _ in range(passes):
            begin = time.perf_counter()
            results = self.logits(batch)
            seconds.append(time.perf_counter() - begin)
        for result in results:
            if isinstance(result, EngineError):
                raise SettingsError(
                    "The longest ad does not fit into the device's memory; lower MAX_WINDOWS."
                )
            if not _all_finite(result):
                raise CheckpointError(
                    f"The checkpoint {self.name} answers with NaN in {self.dtype}; "
                    "its weights are damaged or need float32."
                )
        return tokens / min(seconds)

    @torch.inference_mode()
    def _forward(self, packed: PackedBatch) -> dict[str, FloatArray]:
        # The lock is held only while the pass is launched; CUDA computes it asynchronously.
        with self._lock, self._on_device():
            wait = self._copy_to_host(self._launch(packed))
        rows = wait()
        parts = np.split(rows, np.cumsum(self._widths)[:-1], axis=1)
        return dict(zip(HEADS, parts, strict=True))

    def _launch(self, packed: PackedBatch) -> Tensor:
        if self._graphs and (logits := self._graphs.replay(packed)) is not None:
            return logits
        ids, positions, bounds = map(
            self._copy_to_device, (packed.input_ids, packed.position_ids, packed.cu_seq_lens)
        )
        return self._logits(ids, positions, bounds, packed.longest)

    def _logits(self, ids: Tensor, positions: Tensor, bounds: Tensor, longest: int) -> Tensor:
        output = self._model(
            input_ids=ids, position_ids=positions, cu_seq_lens=bounds, longest=longest
        )
        return torch.cat([output[f"{head}_logits"] for head in HEADS], dim=1).float()

    def _copy_to_host(self, logits: Tensor) -> Callable[[], FloatArray]:
        """Start to copy logits to the host; the function returned waits for them."""
        if self.device.type != "cuda":
            return logits.numpy
        rows = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
        rows.copy_(logits, non_blocking=True)
        # `blocking` lets the waiting thread sleep; otherwise it would poll and occupy a core.
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # untyped in torch
        copied.record()

        def wait() -> FloatArray:
            copied.synchronize()
            return rows.numpy()

        return wait

    def _copy_to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _on_device(self) -> AbstractContextManager[object]:
        # New events and streams belong to the thread's current device, by default the first one.
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _in_16_bit_on_cuda(self) -> bool:
        return self.device.type == "cuda" and self.dtype != "float32"

    def _fuse_layers(self) -> None:
        width = self._model.config.encoder.hidden_size
        with self._on_device():
            fuse_layers(self._model, compiled_add_norm(width, DTYPES[self.dtype]))

    def _make_graphs(self) -> CudaGraphs | None:
        # In float32 the attention loops over the windows on the host, which a graph cannot capture.
        if not self._in_16_bit_on_cuda():
            return None
        return CudaGraphs(
            self._logits,
            labels=sum(self._widths),
            max_window=self._model.config.max_length,
            device=self.device,
            capture_graph=cuda_capture(),
        )

    @torch.inference_mode()
    def _capture(self, tokens: int) -> None:
        if self._graphs is None:
            return
        try:
            with self._on_device():
                self._graphs.capture(tokens)
        except torch.OutOfMemoryError:
            log.warning("no memory for CUDA graphs; small batches are slower without them")
            self._graphs = None


def load_model(checkpoint: Checkpoint, dtype: str, attention: str) -> TwoHeadClassifier:
    """Load a checkpoint's model on the CPU.

    Args:
        checkpoint: a result of `open_checkpoint`.
        dtype: one of `DTYPES`.
        attention: the name of the attention; with `PACKED` the model takes packed input only.
    """
    model = checkpoint.model(DTYPES[dtype], attention)
    if attention == PACKED:
        model.keep_first_tokens()
    if dtype == "int8":
        # Only layers that are computed for every token: pooler and heads cost next to nothing.
        for layer in model.encoder.encoder.layer:
            quantize_linears(layer.every_token if isinstance(layer, FirstTokenLayer) else layer)
    return model


def _split_by_ad(
    batch: Sequence[EncodedAd], logits: WindowLogits
) -> list[WindowLogits | EngineError]:
    results: list[WindowLogits | EngineError] = []
    start = 0
    for encoded in batch:
        end = start + len(encoded.windows)
        results.append({head: values[start:end] for head, values in logits.items()})
        start = end
    return results


def _all_finite(logits: WindowLogits) -> bool:
    return all(bool(np.isfinite(values).all()) for values in logits.values())
