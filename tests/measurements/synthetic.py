"""Writes a checkpoint in the shape of BERT-base, and ads, for machines without the real ones.

    python -m tests.measurements.synthetic --out FOLDER [--count 2000] [--layers 12 --hidden 768]

FOLDER/bert-base has random weights with the demo checkpoint's tokenizer and labels.
FOLDER/ads.jsonl has ads of random words with the length distribution of real ads.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from app.core.head_labels import HEADS, Head
from app.model.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from app.model.checkpoint_verification import TOKENIZER, TOKENIZER_CONFIG
from app.model.classifier import TwoHeadClassifier
from tests.support.repository import DEMO


def main() -> None:
    """Write the checkpoint and the ads."""
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--layers", type=int, default=12)
    options.add_argument("--hidden", type=int, default=768)
    given = options.parse_args()
    demo = open_checkpoint(DEMO)
    files = {name: (DEMO / name).read_bytes() for name in (TOKENIZER, TOKENIZER_CONFIG)}
    save_random(
        given.out / "bert-base",
        BertConfig(
            vocab_size=demo.config.encoder.vocab_size,
            hidden_size=given.hidden,
            num_hidden_layers=given.layers,
            num_attention_heads=given.hidden // 64,
            intermediate_size=4 * given.hidden,
            pad_token_id=demo.config.encoder.pad_token_id,
        ),
        demo.heads,
        files,
    )
    words = whole_words(Tokenizer.from_file(str(DEMO / TOKENIZER)))
    random = np.random.default_rng(1)
    with (given.out / "ads.jsonl").open("w", encoding="utf-8") as file:
        for length in mixed_lengths(given.count, random):
            file.write(json.dumps({"text": " ".join(random.choice(words, length))}) + "\n")


def save_random(
    folder: Path, config: BertConfig, heads: dict[str, Head], files: dict[str, bytes]
) -> Checkpoint:
    """Save a checkpoint with a random encoder and two random heads."""
    torch.manual_seed(0)
    model = TwoHeadClassifier.from_encoder(BertModel(config), heads)
    for head in HEADS:
        # Fresh heads predict almost evenly, and rounding would swap labels.
        getattr(model, head).weight.data.mul_(20)
    return save_checkpoint(folder, model, files, {}, "random weights\n")


def mixed_lengths(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw lengths in tokens like those of real ads: log-normal, median 285, 11.5 % above 512."""
    return np.clip(np.exp(random.normal(np.log(285), 0.488, count)), 20, 1800).astype(int)


def whole_words(tokenizer: Tokenizer) -> list[str]:
    """Return the words that are a single piece of the vocabulary."""
    pieces = (piece for piece in tokenizer.get_vocab() if piece.startswith("▁"))
    return sorted(piece[1:] for piece in pieces if piece[1:].isalpha())


if __name__ == "__main__":
    main()
