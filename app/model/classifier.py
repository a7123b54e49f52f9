"""The two-head classifier: one encoder, a pooler over the first token, and two linear heads.

Loading and saving are inherited from transformers: `from_pretrained` and `save_pretrained`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

import app.model.packed_attention  # noqa: F401  (registers the packed attention)
from app.core.head_labels import HEADS, Head
from app.model.first_token_layer import FirstTokenLayer
from app.model.output import TwoHeadOutput, two_head_loss

ENCODERS = ("bert", "electra", "roberta", "xlm-roberta", "camembert")
"""Supported encoder types: those that give the same outputs for packed and padded windows."""


class TwoHeadConfig(PreTrainedConfig):  # type: ignore[misc]  # checked as untyped
    """The encoder's configuration, both heads, and the window length in tokens."""

    model_type = "two_head"
    sub_configs_defaults: ClassVar = {
        "encoder": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }

    # transformers turns the encoder's configuration, a dict in JSON, into an object of its class.
    encoder: Any = None
    heads: Any = None
    head_dropout: float = 0.1
    max_length: int = 512

    def parsed_heads(self) -> dict[str, Head]:
        """Return both heads, validated.

        Raises:
            ValueError: a head is missing, unknown or malformed.
        """
        given = self.heads or {}
        if sorted(given) != sorted(HEADS):
            raise ValueError(f"the heads have to be {' and '.join(HEADS)}, not {sorted(given)}")
        return {name: Head.model_validate(given[name]) for name in HEADS}

    def position_start(self) -> int:
        """Return the position id of a window's first token."""
        # RoBERTa and models derived from it number positions from the padding index + 1.
        if self.encoder.model_type in ("roberta", "xlm-roberta", "camembert"):
            return int(self.encoder.pad_token_id) + 1
        return 0

    def longest_window(self) -> int:
        """Return the number of tokens that the encoder has positions for."""
        return int(self.encoder.max_position_embeddings) - self.position_start()


class Pooler(nn.Module):
    """tanh of a linear map of a window's first token, as BERT pools (Devlin et al. 2019)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """Map (windows, hidden) to (windows, hidden)."""
        return torch.tanh(self.dense(first_tokens))


class TwoHeadClassifier(PreTrainedModel):  # type: ignore[misc]  # checked as untyped
    """An encoder with two classification heads, computed in one pass."""

    config_class = TwoHeadConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    _supports_attention_backend = True
    supports_gradient_checkpointing = True
    # The loss is a mean over rows; so transformers' Trainer has to average over accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: TwoHeadConfig) -> None:
        super().__init__(config)
        if config.encoder.model_type not in ENCODERS:
            raise ValueError(
                f"an encoder of type '{config.encoder.model_type}' is not supported, "
                f"only {', '.join(ENCODERS)}"
            )
        heads = config.parsed_heads()
        hidden = config.encoder.hidden_size
        # Without a dtype the encoder would take the one of its own configuration, which may be
        # 16 bit, and differ from the heads.
        self.encoder = AutoModel.from_config(config.encoder, dtype=torch.get_default_dtype())
        # The encoder's own pooler would read only the first token of a packed row, not of every
        # window.
        self.encoder.pooler = None
        self.pooler = Pooler(hidden)
        self.dropout = nn.Dropout(config.head_dropout)
        self.job_category = nn.Linear(hidden, len(heads["job_category"].labels))
        self.min_education = nn.Linear(hidden, len(heads["min_education"].labels))
        self.post_init()

    @classmethod
    def from_encoder(
        cls, encoder: PreTrainedModel, heads: dict[str, Head], **options: Any
    ) -> "TwoHeadClassifier":
        """Return a model with a pretrained encoder, its pooler if it has one, and new heads.

        Args:
            encoder: a model of one of the types in `ENCODERS`; its weights are copied.
            heads: both heads by name.
            **options: further fields of `TwoHeadConfig`.

        Raises:
            ValueError: the encoder's type is not supported.
        """
        encoder_config = encoder.config.to_dict()
        # A path on the machine that trains must not get into a published checkpoint.
        encoder_config.pop("_name_or_path", None)
        config = TwoHeadConfig(
            encoder=encoder_config,
            heads={name: head.model_dump(mode="json") for name, head in heads.items()},
            **options,
        )
        model = cls(config)
        weights = encoder.state_dict()
        model.encoder.load_state_dict(
            {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
        )
        if (pooler := getattr(encoder, "pooler", None)) is not None:
            model.pooler.dense.load_state_dict(pooler.dense.state_dict())
        return model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seq_lens: Tensor | None = None,
        longest: int | None = None,
        job_category: Tensor | None = None,
        min_education: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> TwoHeadOutput:
        """Run the encoder once, then both heads on the pooled first tokens.

        Args:
            input_ids: int64 of shape (windows, length), padded; or (1, tokens), packed.
            attention_mask: 1 for tokens and 0 for padding, shape as `input_ids`; padded only.
            position_ids: shape as `input_ids`; restarts with every window of a packed row.
            cu_seq_lens: for packed input only, which needs the attention named `PACKED`: the
                bounds of the windows, int32 of shape (windows + 1,).
            longest: tokens of the longest window; packed only.
            job_category: targets, int64 of shape (windows,), `IGNORE_INDEX` for no label.
            min_education: likewise.
            output_hidden_states: whether to return the hidden states of all layers too.

        Returns:
            Both heads' logits; if there are targets, also the sum of the heads' mean losses.
        """
        packed = cu_seq_lens is not None
        bounds = (
            {
                "cu_seq_lens_q": cu_seq_lens,
                "cu_seq_lens_k": cu_seq_lens,
                "max_length_q": longest,
                "max_length_k": longest,
            }
            if packed
            else {}
        )
        encoded = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_hidden_states=output_hidden_states,
            **bounds,
        )
        first_tokens = self._first_tokens(encoded.last_hidden_state, cu_seq_lens)
        pooled = self.dropout(self.pooler(first_tokens))
        output = TwoHeadOutput(
            job_category_logits=self.job_category(pooled),
            min_education_logits=self.min_education(pooled),
            hidden_states=encoded.hidden_states,
        )
        targets = {"job_category": job_category, "min_education": min_education}
        if any(target is not None for target in targets.values()):
            output.loss = two_head_loss(output, targets)
        return output

    def keep_first_tokens(self) -> None:
        """Let the last layer compute the first token of each window only, which the pooler reads.

        From then on the model takes packed input only, and `hidden_states` lacks the states of the
        last layer's other tokens.
        """
        layers = self.encoder.encoder.layer
        layers[-1] = FirstTokenLayer(layers[-1])

    def _first_tokens(self, states: Tensor, cu_seq_lens: Tensor | None) -> Tensor:
        """Return the states of the windows' first tokens, of shape (windows, hidden)."""
        if cu_seq_lens is None:
            return states[:, 0]
        if isinstance(self.encoder.encoder.layer[-1], FirstTokenLayer):
            return states[0]
        return states[0, cu_seq_lens[:-1]]
