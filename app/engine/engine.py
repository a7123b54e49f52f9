"""The engine: packs encoded ads, runs one forward pass, brings the logits back to the host.

The only module that touches a device.
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
from app.core.head_labels import HEADS
from app.core.postprocessing import WindowLogits, scores
from app.core.types import Encoded, FloatArray, Scores
from app.engine.add_norm_kernel import AddNorm, compiled_add_norm
from app.engine.cuda_graphs import Graphs, cuda_capture
from app.engine.devices import (
    BATCH_TOKENS,
    DTYPES,
    HAS_ONEDNN,
    out_of_memory,
    resolve_device,
    resolve_dtype,
)
from app.engine.fused_layer import FusedLayer
from app.engine.int8_linear import quantize
from app.engine.onednn_linear import padded_rows, prepack, prepackable
from app.engine.packing import Packed, pack
from app.model.checkpoint import Checkpoint
from app.model.classifier import TwoHeadClassifier
from app.model.first_token_layer import FirstTokenLayer
from app.model.packed_attention import PACKED

log = logging.getLogger(__name__)


class Engine:
    """A loaded checkpoint on its device. `run` may be called from several threads.

    While one call waits for the device, another packs its batch and launches it behind the first,
    so the device never waits for the host.
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
        self._model = load_model(checkpoint, self.dtype, PACKED).to(self.device)
        self._filled = padded_rows if self.device.type == "cpu" else None
        prepacks = HAS_ONEDNN and self.dtype != "int8" and prepackable(DTYPES[self.dtype])
        if self._in_16_bit_on_cuda():
            self._fuse()
        elif self.device.type == "cpu" and prepacks:
            prepack(self._model)
        self._widths = [len(checkpoint.heads[name].labels) for name in HEADS]
        self._graphs = self._make_graphs()
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
        results = self.logits(batch)
        whole = [result for result in results if not isinstance(result, EngineError)]
        scored = iter(scores(whole, self._temperatures))
        return [
            result
            if isinstance(result, EngineError)
            else next(scored)
            or EngineError(f"The model answers this ad with NaN; it overflows {self.dtype}.")
            for result in results
        ]

    def logits(self, batch: Sequence[Encoded]) -> list[WindowLogits | EngineError]:
        """Return every ad's raw logits, window by window; otherwise as `run`."""
        if not batch:
            return []
        try:
            logits = self._forward(pack(batch, self._position_start, self._filled))
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
            return _by_ad(batch, logits)
        # Outside the handler: the traceback would keep the failed pass's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(batch) // 2
        return self.logits(batch[:middle]) + self.logits(batch[middle:])

    def close(self) -> None:
        """Give the model's memory back; nothing can be run any more."""
        with self._lock, self._on_device():
            # The graphs hold a part of the device's memory, and this object by its pass.
            del self._model, self._graphs
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def warm_up(self, batch: Sequence[Encoded]) -> float:
        """Run a batch as large as they come, and measure it.

        Twice, where the first pass loads or compiles what computes: then the faster one counts.
        On CUDA in 16 bit, the passes of all batches up to its size are captured as graphs first.

        Returns:
            Tokens a second.

        Raises:
            CheckpointError: the model answers with something that is no number.
        """
        tokens = sum(encoded.tokens for encoded in batch)
        self._capture(tokens)
        seconds = []
        # In floating point a CPU's first pass takes at most a tenth longer than those behind it.
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
            if not _finite(result):
                raise CheckpointError(
                    f"The checkpoint {self.name} answers with NaN in {self.dtype}; "
                    "its weights are damaged or need float32."
                )
        return tokens / min(seconds)

    @torch.inference_mode()
    def _forward(self, packed: Packed) -> dict[str, FloatArray]:
        # The lock is held while the pass is launched; a device computes it afterwards.
        with self._lock, self._on_device():
            fetched = self._fetch(self._launch(packed))
        rows = fetched()
        parts = np.split(rows, np.cumsum(self._widths)[:-1], axis=1)
        return dict(zip(HEADS, parts, strict=True))

    def _launch(self, packed: Packed) -> Tensor:
        if self._graphs and (logits := self._graphs.replay(packed)) is not None:
            return logits
        ids, positions, bounds = map(
            self._send, (packed.input_ids, packed.position_ids, packed.cu_seq_lens)
        )
        return self._logits(ids, positions, bounds, packed.longest)

    def _logits(self, ids: Tensor, positions: Tensor, bounds: Tensor, longest: int) -> Tensor:
        output = self._model(
            input_ids=ids, position_ids=positions, cu_seq_lens=bounds, longest=longest
        )
        return torch.cat([output[f"{head}_logits"] for head in HEADS], dim=1).float()

    def _fetch(self, logits: Tensor) -> Callable[[], FloatArray]:
        """Begin to bring rows to the host; the returned call waits for them."""
        if self.device.type != "cuda":
            return logits.numpy
        rows = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
        rows.copy_(logits, non_blocking=True)
        # The waiting thread sleeps, where it would else take a core to ask again and again.
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch has none
        copied.record()

        def wait() -> FloatArray:
            copied.synchronize()
            return rows.numpy()

        return wait

    def _send(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _on_device(self) -> AbstractContextManager[object]:
        # Events and streams belong to the thread's current device, which is the first one.
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _in_16_bit_on_cuda(self) -> bool:
        return self.device.type == "cuda" and self.dtype != "float32"

    def _fuse(self) -> None:
        encoder = self._model.config.encoder
        with self._on_device():
            fuse(self._model, compiled_add_norm(encoder.hidden_size, DTYPES[self.dtype]))

    def _make_graphs(self) -> Graphs | None:
        # In float32 the attention is a loop over the windows, which the host has to count.
        if not self._in_16_bit_on_cuda():
            return None
        return Graphs(
            self._logits,
            labels=sum(self._widths),
            longest=self._model.config.max_length,
            device=self.device,
            capture=cuda_capture(),
        )

    @torch.inference_mode()
    def _capture(self, tokens: int) -> None:
        if self._graphs is None:
            return
        try:
            with self._on_device():
                self._graphs.capture(tokens)
        except torch.OutOfMemoryError:
            log.warning("no memory for CUDA graphs; small batches are slower without")
            self._graphs = None


def load_model(checkpoint: Checkpoint, dtype: str, attention: str) -> TwoHeadClassifier:
    """Load a checkpoint's weights on the CPU, in one of `DTYPES`."""
    model = checkpoint.model(DTYPES[dtype], attention)
    if attention == PACKED:
        model.keep_first_tokens()
    if dtype == "int8":
        # What meets every token alone: embeddings, pooler and heads cost next to nothing.
        for layer in model.encoder.encoder.layer:
            quantize(layer.every_token if isinstance(layer, FirstTokenLayer) else layer)
    return model


def fuse(model: TwoHeadClassifier, add_norm: AddNorm) -> None:
    """Put a `FusedLayer` in the place of every layer but the last, which meets few tokens."""
    layers = model.encoder.encoder.layer
    for index in range(len(layers) - 1):
        layers[index] = FusedLayer(layers[index], add_norm)


def _by_ad(batch: Sequence[Encoded], logits: WindowLogits) -> list[WindowLogits | EngineError]:
    results: list[WindowLogits | EngineError] = []
    start = 0
    for encoded in batch:
        end = start + len(encoded.windows)
        results.append({head: values[start:end] for head, values in logits.items()})
        start = end
    return results


def _finite(logits: WindowLogits) -> bool:
    return all(bool(np.isfinite(values).all()) for values in logits.values())
