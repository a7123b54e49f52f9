"""Fixtures of all tests: tiny checkpoints with random weights, built once in a test run.

They need neither network access nor committed weights.
"""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModel

from app.core.head_labels import Head
from app.model.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from app.model.classifier import TwoHeadClassifier

TRADES = {
    "nursing": "Pflegefachkraft für die Station mit Schichtdienst und Patienten",
    "cooking": "Koch für die Küche mit Speisen und Menüs im Restaurant",
    "software": "Entwickler für Software mit Python und Datenbanken im Team",
}
LEVELS = {
    "none": "Quereinsteiger willkommen ohne Ausbildung",
    "vocational": "abgeschlossene Ausbildung im Beruf",
    "master": "abgeschlossenes Studium mit Master",
}
HEADS = {
    "job_category": Head(
        labels=tuple(TRADES),
        names={"de": ("Pflege", "Küche", "Software")},
        codes={"kldb": (("813", "821"), ("293",), ()), "isco": ((), (), ("2512",))},
    ),
    "min_education": Head(
        labels=tuple(LEVELS),
        ordered=True,
        codes={
            "credential": (("no requirements",), ("professional certificate",), ()),
            "dqr": (("1", "2"), ("3", "4"), ("7",)),
        },
    ),
}
OTHER_HEADS = {
    "job_category": Head(labels=("garden", "house", "office", "road", "sea")),
    "min_education": Head(labels=("low", "high"), ordered=True),
}
POSITIONS = 64


def tiny_tokenizer() -> tuple[bytes, bytes]:
    """Return `tokenizer.json` and `tokenizer_config.json` of a WordPiece with the tests' words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # Not trained, because the trainer of tokenizers breaks ties differently in every process.
    words = sorted({word for line in (*TRADES.values(), *LEVELS.values()) for word in line.split()})
    letters = sorted(set("".join(words)))
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        **{f"{token[1:-1].lower()}_token": token for token in special},
    }
    return tokenizer.to_str().encode(), json.dumps(config).encode()


def tiny_encoder(
    kind: str = "bert", vocabulary: int = 500, layers: int = 2, hidden_act: str = "gelu"
) -> torch.nn.Module:
    """Return an encoder of one of the supported types with random weights and hidden size 32."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=vocabulary,
        hidden_size=32,
        embedding_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        # RoBERTa and models derived from it number positions from the padding index + 1.
        max_position_embeddings=POSITIONS if kind in ("bert", "electra") else POSITIONS + 1,
        pad_token_id=0,
        hidden_act=hidden_act,
    )
    return AutoModel.from_config(config)


def tiny_model(kind: str = "bert", hidden_act: str = "gelu") -> TwoHeadClassifier:
    """Return a two-head model on a tiny encoder, with the same weights in every call."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        encoder = tiny_encoder(kind, hidden_act=hidden_act)
        model = TwoHeadClassifier.from_encoder(encoder, HEADS, max_length=POSITIONS)
        # New heads give nearly uniform probabilities; larger weights make labels distinct.
        for head in HEADS:
            getattr(model, head).weight.data.mul_(40)
    return model.eval()


LONGEST = (
    "test_page_blocks", "test_fuzz", "test_schema", "test_page", "test_workers", "test_cases",
    "test_cluster", "test_backfill", "test_bench_command", "test_peers", "test_streams",
    "test_model_swaps", "test_contract", "test_overload", "test_statuses", "test_server_command",
)  # fmt: skip
"""Files of marked tests that take longest. They start first, so that no worker is left with a long
one in the end.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of the longest files to the beginning."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Use one thread: a second gains nothing for tiny tensors, and is slow on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_files() -> dict[str, bytes]:
    tokenizer, config = tiny_tokenizer()
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


@pytest.fixture(scope="session")
def tiny_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_files: dict[str, bytes]
) -> Path:
    """A checkpoint folder; a test that changes it makes a copy first."""
    folder = tmp_path_factory.mktemp("store") / "tiny"
    save_checkpoint(folder, tiny_model(), tokenizer_files, {"note": "untrained"}, "# tiny\n")
    return folder


@pytest.fixture(scope="session")
def other_folder(tiny_folder: Path, tokenizer_files: dict[str, bytes]) -> Path:
    """A second checkpoint in the same store, with other labels and other token ids."""
    folder = tiny_folder.with_name("other")
    tokenizer = json.loads(tokenizer_files["tokenizer.json"])
    special = tokenizer["added_tokens"]
    pieces = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    words = [piece for piece, _ in pieces[len(special) :]]
    ordered = [piece for piece, _ in pieces[: len(special)]] + words[::-1]
    tokenizer["model"]["vocab"] = {piece: number for number, piece in enumerate(ordered)}
    files = tokenizer_files | {"tokenizer.json": json.dumps(tokenizer).encode()}
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = TwoHeadClassifier.from_encoder(tiny_encoder(), OTHER_HEADS, max_length=POSITIONS)
    save_checkpoint(folder, model.eval(), files, {"note": "untrained"}, "# other\n")
    return folder


@pytest.fixture(scope="session")
def sensitive_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_files: dict[str, bytes]
) -> Path:
    """A checkpoint whose answers depend on every sentence, which the tiny one's hardly do."""
    model = tiny_model()
    model.encoder.embeddings.word_embeddings.weight.data.mul_(20)
    for weight in model.encoder.encoder.parameters():
        weight.data.mul_(4 if weight.ndim == 2 else 1)
    model.pooler.dense.weight.data.mul_(20)
    folder = tmp_path_factory.mktemp("store") / "swayed"
    save_checkpoint(folder, model, tokenizer_files, {"note": "untrained"}, "# swayed\n")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tokenizer_files: dict[str, bytes]) -> Path:
    """An encoder without heads, as a user passes to `--base`."""
    folder = tmp_path_factory.mktemp("base")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        tiny_encoder().save_pretrained(folder)
    for name, content in tokenizer_files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tiny_folder: Path) -> Checkpoint:
    return open_checkpoint(tiny_folder)
