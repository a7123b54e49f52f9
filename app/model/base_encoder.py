"""Base encoders: pretrained encoders with their tokenizers, from a folder or the model hub."""

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

MAX_DEFAULT_WINDOW = 512
"""The longest window in tokens that is chosen without `--max-length`."""

# Keys of a saved tokenizer's configuration that describe the machine it was loaded on.
_LOCAL_KEYS = ("name_or_path", "is_local", "local_files_only")


@dataclass(frozen=True)
class BaseEncoder:
    """A base encoder's configuration and tokenizer; `encoder` loads its weights."""

    name: str
    config: PreTrainedConfig
    special: SpecialTokens
    tokenizer_files: Mapping[str, bytes]

    def encoder(self) -> PreTrainedModel:
        """Load the pretrained encoder on the CPU, in float32.

        Raises:
            CheckpointError: the weights are missing or unreadable.
        """
        try:
            encoder: PreTrainedModel = AutoModel.from_pretrained(
                self.name, dtype=torch.float32, **_loading_options(self.name)
            )
        except Exception as error:
            raise CheckpointError(
                f"The weights of the base '{self.name}' cannot be loaded: {first_line(error)}."
            ) from error
        return encoder

    def untrained_encoder(self) -> PreTrainedModel:
        """Return the encoder with random weights, in float32."""
        encoder: PreTrainedModel = AutoModel.from_config(self.config, dtype=torch.float32)
        return encoder

    def tokenizer(self, max_length: int) -> AdTokenizer:
        """Return a new tokenizer that cuts ads into windows of at most `max_length` tokens."""
        tokenizer = Tokenizer.from_str(self.tokenizer_files[TOKENIZER].decode())
        return AdTokenizer(tokenizer, self.special, max_length)

    def window(self, max_length: int | None) -> int:
        """Return the window length in tokens.

        Args:
            max_length: the length to check and return; None for as many tokens as the encoder has
                positions for, at most `MAX_DEFAULT_WINDOW`.

        Raises:
            CheckpointError: `max_length` is too short, or more than the encoder has positions for.
        """
        longest = TwoHeadConfig(encoder=self.config.to_dict()).longest_window()
        if max_length is None:
            return min(MAX_DEFAULT_WINDOW, longest)
        if not SMALLEST_WINDOW <= max_length <= longest:
            raise CheckpointError(
                f"--max-length has to lie between {SMALLEST_WINDOW} and {longest}, "
                f"the number of positions of '{self.name}', not at {max_length}."
            )
        return max_length


def open_base_encoder(name: str) -> BaseEncoder:
    """Read a base encoder's configuration and tokenizer, and check that they are supported.

    Args:
        name: a folder, or the name of a model on the hub.

    Raises:
        CheckpointError: the base is missing, incomplete, or of an unsupported type.
    """
    path = Path(name)
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or path.is_file()):
        raise CheckpointError(f"There is no folder {name} with a base encoder.")
    try:
        config = AutoConfig.from_pretrained(name, **_loading_options(name))
    except Exception as error:
        raise CheckpointError(_not_found(name, error)) from error
    if config.model_type not in ENCODERS:
        raise CheckpointError(
            f"The base '{name}' is of type '{config.model_type}'; "
            f"supported are {', '.join(ENCODERS)}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **_loading_options(name))
    except Exception as error:
        raise CheckpointError(
            f"The tokenizer of the base '{name}' cannot be loaded: {first_line(error)}."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"The base '{name}' has no fast tokenizer (a {TOKENIZER}).")
    return BaseEncoder(
        name, config, _special_tokens(name, config, tokenizer), _tokenizer_files(tokenizer)
    )


def base_name(name: str) -> str:
    """Return the name of a base for a model card: of a folder only the last part of its path."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def keep_layers(encoder: PreTrainedModel, layers: int) -> PreTrainedModel:
    """Remove all but `layers` evenly spaced layers of an encoder, in place, and return it.

    The first and the last layer stay; DistilBERT is initialized from BERT in a similar way (Sanh
    et al. 2019).

    Raises:
        CheckpointError: `layers` is below 1, or the encoder has fewer.
    """
    stack = encoder.encoder.layer
    if not 1 <= layers <= len(stack):
        raise CheckpointError(f"--layers has to lie between 1 and {len(stack)}, not at {layers}.")
    encoder.encoder.layer = torch.nn.ModuleList(
        stack[index] for index in evenly_spaced(len(stack), layers)
    )
    encoder.config.num_hidden_layers = layers
    return encoder


def freeze_lowest_layers(encoder: PreTrainedModel, layers: int) -> None:
    """Exclude the embeddings and the lowest `layers` layers from training.

    Words that do not occur in the training rows then keep their distances to those that do, and
    nothing below the first trained layer needs a backward pass.

    Raises:
        CheckpointError: the encoder has fewer layers.
    """
    stack = encoder.encoder.layer
    if layers > len(stack):
        raise CheckpointError(f"--freeze-layers has to be at most {len(stack)}, not {layers}.")
    for part in (encoder.embeddings, *stack[:layers]):
        part.requires_grad_(False)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return `count` evenly spaced indices of `total` layers, from the first to the last."""
    step = (total - 1) / max(count - 1, 1)
    return [round(index * step) for index in range(count)]


def _loading_options(name: str) -> dict[str, bool]:
    # A folder never causes a request to the hub, and no code from a model repository is executed.
    return {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}


def _not_found(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"The folder {name} holds no base encoder: {first_line(error)}."
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(cause, HfHubHTTPError) for cause in causes):
        return f"The base '{name}' is neither a folder nor a public model on huggingface.co."
    return f"There is no folder {name}, and no base of this name was found: {first_line(error)}."


def _special_tokens(
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
            f"The tokenizer of the base '{name}' has no tokens for the start and end of a text."
        )
    return SpecialTokens(cls=cls, sep=sep)


def _tokenizer_files(tokenizer: PreTrainedTokenizerFast) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config = json.loads((Path(folder) / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in _LOCAL_KEYS}
    return {
        TOKENIZER: tokenizer.backend_tokenizer.to_str().encode(),
        TOKENIZER_CONFIG: (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode(),
    }
