"""Base encoders: a pretrained encoder and its tokenizer, from a folder or the model hub."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from app.core.errors import CheckpointError, first_line
from app.model.checkpoint_verification import TOKENIZER, TOKENIZER_CONFIG
from app.model.classifier import ENCODERS, TwoHeadConfig
from app.text.tokenization import SMALLEST_WINDOW, AdTokenizer, SpecialTokens

LONGEST_WINDOW = 512
"""Windows get no longer than this by themselves, however many positions an encoder has."""

# What a saved tokenizer says about the machine it was loaded on.
_LOCAL_KEYS = ("name_or_path", "is_local", "local_files_only")


@dataclass(frozen=True)
class BaseEncoder:
    """A base encoder's configuration and tokenizer; its weights are loaded on demand."""

    name: str
    config: PreTrainedConfig
    special: SpecialTokens
    tokenizer_files: Mapping[str, bytes]

    def encoder(self) -> PreTrainedModel:
        """Load the pretrained encoder in float32, on the CPU.

        Raises:
            CheckpointError: there are no weights, or they cannot be read.
        """
        try:
            encoder: PreTrainedModel = AutoModel.from_pretrained(
                self.name, dtype=torch.float32, **_where(self.name)
            )
        except Exception as error:
            raise CheckpointError(
                f"The weights of the base '{self.name}' cannot be loaded: {first_line(error)}."
            ) from error
        return encoder

    def blank(self) -> PreTrainedModel:
        """Return the encoder with random weights, in float32."""
        encoder: PreTrainedModel = AutoModel.from_config(self.config, dtype=torch.float32)
        return encoder

    def tokenizer(self, max_length: int) -> AdTokenizer:
        """Return a fresh tokenizer that cuts ads into windows of at most `max_length` tokens."""
        tokenizer = Tokenizer.from_str(self.tokenizer_files[TOKENIZER].decode())
        return AdTokenizer(tokenizer, self.special, max_length)

    def window(self, wanted: int | None) -> int:
        """Return the window length in tokens: what is wanted, or what the encoder has, up to 512.

        Raises:
            CheckpointError: the encoder has no positions for what is wanted.
        """
        longest = TwoHeadConfig(encoder=self.config.to_dict()).longest_window()
        if wanted is None:
            return min(LONGEST_WINDOW, longest)
        if not SMALLEST_WINDOW <= wanted <= longest:
            raise CheckpointError(
                f"--max-length has to lie between {SMALLEST_WINDOW} and {longest}, "
                f"the positions of '{self.name}', not at {wanted}."
            )
        return wanted


def open_base(name: str) -> BaseEncoder:
    """Read a base encoder's configuration and tokenizer, and check that training can use them.

    Args:
        name: a folder, or the name of a model on the hub.

    Raises:
        CheckpointError: with one sentence, where it is not there, or of an unsupported kind.
    """
    path = Path(name)
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or path.is_file()):
        raise CheckpointError(f"There is no folder {name} with a base encoder.")
    try:
        config = AutoConfig.from_pretrained(name, **_where(name))
    except Exception as error:
        raise CheckpointError(_not_found(name, error)) from error
    if config.model_type not in ENCODERS:
        raise CheckpointError(
            f"The base '{name}' is of type '{config.model_type}'; "
            f"supported are {', '.join(ENCODERS)}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **_where(name))
    except Exception as error:
        raise CheckpointError(
            f"The tokenizer of the base '{name}' cannot be loaded: {first_line(error)}."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"The base '{name}' has no fast tokenizer (a {TOKENIZER}).")
    return BaseEncoder(name, config, _special(name, config, tokenizer), _files(tokenizer))


def base_name(name: str) -> str:
    """Return what to call a base in a card: a folder's own name, never where it lies."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def keep_layers(encoder: PreTrainedModel, layers: int) -> PreTrainedModel:
    """Keep `layers` of an encoder's layers, evenly spread, the first and the last among them.

    As DistilBERT is started from BERT (Sanh et al. 2019).

    Raises:
        CheckpointError: the encoder has fewer layers.
    """
    stack = encoder.encoder.layer
    if not 1 <= layers <= len(stack):
        raise CheckpointError(f"--layers has to lie between 1 and {len(stack)}, not at {layers}.")
    encoder.encoder.layer = torch.nn.ModuleList(
        stack[index] for index in evenly_spaced(len(stack), layers)
    )
    encoder.config.num_hidden_layers = layers
    return encoder


def freeze(encoder: PreTrainedModel, layers: int) -> None:
    """Keep the embeddings and the lowest `layers` layers as they are in training.

    Words that the training rows lack then keep their place beside those that they have, and what is
    below the first trained layer needs no backward pass.

    Raises:
        CheckpointError: the encoder has fewer layers.
    """
    stack = encoder.encoder.layer
    if layers > len(stack):
        raise CheckpointError(f"--freeze-layers has to be at most {len(stack)}, not {layers}.")
    for part in (encoder.embeddings, *stack[:layers]):
        part.requires_grad_(False)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return the indices of `count` of `total` layers, evenly spread, first and last included."""
    step = (total - 1) / max(count - 1, 1)
    return [round(index * step) for index in range(count)]


def _where(name: str) -> dict[str, bool]:
    # A folder is never looked up on the hub, and nobody's code but the library's is run.
    return {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}


def _not_found(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"The folder {name} holds no base encoder: {first_line(error)}."
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(cause, HfHubHTTPError) for cause in causes):
        return f"The base '{name}' is neither a folder nor a public model on huggingface.co."
    return f"There is no folder {name}, and no base of this name can be had: {first_line(error)}."


def _special(
    name: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> SpecialTokens:
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"The tokenizer of the base '{name}' has {len(tokenizer)} pieces, "
            f"but its embedding only {config.vocab_size}."
        )
    cls = tokenizer.cls_token_id if tokenizer.cls_token else tokenizer.bos_token_id
    sep = tokenizer.sep_token_id if tokenizer.sep_token else tokenizer.eos_token_id
    if cls is None or sep is None:
        raise CheckpointError(
            f"The tokenizer of the base '{name}' names no tokens to open and close a text with."
        )
    return SpecialTokens(cls=cls, sep=sep)


def _files(tokenizer: PreTrainedTokenizerFast) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config = json.loads((Path(folder) / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in _LOCAL_KEYS}
    return {
        TOKENIZER: tokenizer.backend_tokenizer.to_str().encode(),
        TOKENIZER_CONFIG: (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode(),
    }
