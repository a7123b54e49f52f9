"""The model that every peer serves: encoder and heads with plain transformers."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import linear
from transformers import AutoModel, AutoTokenizer

BATCH = int(os.environ.get("PEER_BATCH", "1"))
"""The largest number of ads in a batch."""

PORT = int(os.environ.get("PEER_PORT", "0"))


class TwoHeads:
    """An exported checkpoint in float32; reads only the first 512 tokens of an ad."""

    def __init__(self, folder: Path | None = None, threads: int | None = None) -> None:
        folder = folder or Path(os.environ["PEER_MODEL"])
        torch.set_num_threads(threads or int(os.environ["PEER_THREADS"]))
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._encoder = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
        self._heads = load_file(folder / "heads.safetensors")
        self._labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        # Warm-up, because the first passes of a shape are slow.
        long = "Koch " * 600
        for texts in ([long], [long] * BATCH, ["Koch"]):
            self(texts)

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> list[dict[str, dict[str, object]]]:
        """Return both heads' best labels for each text; pads to the longest text."""
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pooled = self._encoder(**tokens).pooler_output
        best = {
            head: linear(pooled, self._heads[f"{head}.weight"], self._heads[f"{head}.bias"])
            .softmax(-1)
            .max(-1)
            for head in self._labels
        }
        return [
            {
                head: {
                    "label": self._labels[head][int(found.indices[row])],
                    "probability": float(found.values[row]),
                }
                for head, found in best.items()
            }
            for row in range(len(texts))
        ]
