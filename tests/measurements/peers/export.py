"""Exports a checkpoint for plain transformers, which peers can load without this project."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS
from app.model.checkpoint import Checkpoint
from app.model.checkpoint_verification import TOKENIZER, TOKENIZER_CONFIG, read_json

TWO_HEADS = "two_heads"


def export(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `two_heads/`, for servers with own code, and a folder for each head, for the others.

    `two_heads/` has a `BertModel`, `heads.safetensors` and `labels.json`; a head's folder has a
    `BertForSequenceClassification` with the whole encoder. Weights are float32. Those of a head are
    divided by its temperature, so that probabilities equal the checkpoint's.

    Raises:
        CheckpointError: the encoder is not a BERT.
    """
    if checkpoint.config.encoder.model_type != "bert":
        raise CheckpointError("The peers are set up for encoders of the type bert only.")
    weights = checkpoint.model(torch.float32, "sdpa").state_dict()
    encoder = {
        **_below(weights, "encoder."),
        **{f"pooler.{name}": tensor for name, tensor in _below(weights, "pooler.").items()},
    }
    heads = {
        f"{head}.{part}": weights[f"{head}.{part}"] / checkpoint.heads[head].temperature
        for head in HEADS
        for part in ("weight", "bias")
    }
    options = checkpoint.config.encoder.to_dict() | {"dtype": "float32"}
    both = BertModel(BertConfig(**options))
    both.load_state_dict(encoder)
    both.save_pretrained(folder / TWO_HEADS)
    save_file(heads, folder / TWO_HEADS / "heads.safetensors")
    labels = {head: checkpoint.heads[head].labels for head in HEADS}
    (folder / TWO_HEADS / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    for head in HEADS:
        names = dict(enumerate(labels[head]))
        numbers = {name: number for number, name in names.items()}
        config = BertConfig(**{**options, "id2label": names, "label2id": numbers})
        single = BertForSequenceClassification(config)
        single.load_state_dict(
            {f"bert.{name}": tensor for name, tensor in encoder.items()}
            | {f"classifier.{name}": tensor for name, tensor in _below(heads, f"{head}.").items()}
        )
        single.save_pretrained(folder / head)
    for name in (TWO_HEADS, *HEADS):
        _copy_tokenizer(checkpoint, folder / name)


def _below(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _copy_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    # Every release of transformers has this class.
    config = read_json(checkpoint.path / TOKENIZER_CONFIG) | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": checkpoint.config.max_length,
    }
    config.pop("backend", None)
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
    (folder / TOKENIZER).write_bytes((checkpoint.path / TOKENIZER).read_bytes())
