"""The contenders: requirements, command, requests and answers of each.

All compute in float32 with all cores, pad a batch to its longest ad, and warm up before they are
ready. The peers read the first 512 tokens of an ad; Doppelkopf reads all of it unless
`max_windows=1` is set. Peers are tuned with their own settings, except for limits of their queues:
contenders with a limit have it in their name, the others accept every request by default.
"""

import re
from collections.abc import Sequence

from app.core.head_labels import HEADS
from tests.measurements.peers.contender import Call, Contender
from tests.support.repository import ROOT

OWN = "doppelkopf"

LOCK = ROOT / "requirements" / "lock.txt"

BATCH = 8

LIMIT = 16


def own(settings: str = "") -> Contender:
    """Return the project's own server.

    Args:
        settings: such as `dtype=int8,max_windows=1`.

    Raises:
        ValueError: the settings have another form.
    """
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    if not all(name and value for name, _, value in pairs):
        raise ValueError(f"settings are written as NAME=VALUE[,...], not '{settings}'")
    return Contender(
        name=f"{OWN}:{settings}" if settings else OWN,
        remark="as it comes" if not settings else f"with {settings}",
        command=("{python}", "-m", "app.cli", "serve"),
        variables={
            "DOPPELKOPF_MODEL": "{model}",
            "DOPPELKOPF_PORT": "{port}",
            **{f"DOPPELKOPF_{name.upper()}": value for name, _, value in pairs},
        },
        calls=(
            Call(
                "/classify",
                lambda ad, _: {"text": ad.text, "title": ad.title},
                lambda answer: {head: answer[head]["label"] for head in HEADS},
            ),
        ),
    )


def pinned(*names: str) -> tuple[str, ...]:
    """Return requirements with the versions of this project's lock file."""
    lock = LOCK.read_text(encoding="utf-8")
    return tuple(
        re.search(rf"^{re.escape(name)}==\S+", lock, re.MULTILINE)[0]  # type: ignore[index]
        for name in names
    )


TORCH = pinned("torch", "transformers")

SERVER = {
    "PEER_MODEL": "{two_heads}",
    "PEER_PORT": "{port}",
    "PEER_SCRATCH": "{scratch}",
    "PEER_THREADS": "{threads}",
}


def _one(path: str) -> tuple[Call, ...]:
    return (
        Call(
            path,
            lambda _, text: {"text": text},
            lambda answer: {head: answer[head]["label"] for head in HEADS},
        ),
    )


def _batching(batch: int) -> dict[str, str]:
    return SERVER | {"PEER_BATCH": str(batch)}


def _module(name: str, *words: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"tests.measurements.peers.servers.{name}", *words)


def _fastapi(name: str, remark: str, *words: str, limit: int | None = None) -> Contender:
    application = "tests.measurements.peers.servers.on_fastapi:app"
    address = ("--host", "127.0.0.1", "--port", "{port}", "--log-level", "error")
    return Contender(
        name=name,
        remark=remark,
        command=("{python}", "-m", "uvicorn", application, *address, *words),
        calls=_one("/classify"),
        variables=SERVER,
        environment="fastapi",
        requirements=(*TORCH, *pinned("fastapi", "uvicorn", "uvloop", "httptools")),
        limit=limit,
    )


def _litserve(name: str, remark: str, batch: int) -> Contender:
    return Contender(
        name=name,
        remark=remark,
        command=_module("on_litserve"),
        calls=_one("/predict"),
        variables=_batching(batch),
        environment="litserve",
        requirements=(*TORCH, "litserve==0.2.19"),
        batch=batch,
    )


def _mosec(name: str, remark: str, batch: int = 1, limit: int | None = None) -> Contender:
    address = ("--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
    # Its default timeout of 3 s would end requests of the closed loops.
    rest = ("--timeout", "60000", *(("--capacity", str(limit)) if limit else ()))
    return Contender(
        name=name,
        remark=remark,
        command=_module("on_mosec", *address, *rest),
        calls=_one("/inference"),
        variables=_batching(batch),
        environment="mosec",
        requirements=(*TORCH, "mosec==0.9.8"),
        batch=batch,
        limit=limit,
    )


def _ray() -> Contender:
    return Contender(
        name="ray",
        remark=f"Ray Serve, @serve.batch of {BATCH}",
        command=_module("on_ray"),
        calls=_one("/"),
        # Otherwise its processes listen on all interfaces, whatever the proxy's address is.
        variables=_batching(BATCH) | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        environment="ray",
        requirements=(*TORCH, "ray[serve]==2.60.0"),
        batch=BATCH,
    )


def _bentoml() -> Contender:
    service = "tests.measurements.peers.servers.on_bentoml:Classifier"
    address = ("--host", "127.0.0.1", "--port", "{port}")
    return Contender(
        name="bentoml",
        remark=f"BentoML, batchable, {BATCH} at most",
        command=("{python}", "-m", "bentoml", "serve", service, *address),
        calls=(
            Call(
                "/classify",
                lambda _, text: {"texts": [text]},
                lambda answer: {head: answer[0][head]["label"] for head in HEADS},
            ),
        ),
        variables=_batching(BATCH) | {"BENTOML_HOME": "{scratch}"},
        environment="bentoml",
        requirements=(*TORCH, "bentoml==1.4.40"),
        batch=BATCH,
    )


def _infinity() -> Contender:
    def call(head: str) -> Call:
        return Call(
            "/classify",
            lambda _, text: {"model": head, "input": [text]},
            lambda answer: {head: max(answer["data"][0], key=lambda one: one["score"])["label"]},
        )

    models = [word for head in HEADS for word in ("--model-id", f"{{{head}}}")]
    names = [word for head in HEADS for word in ("--served-model-name", head)]
    engine = ("--engine", "torch", "--device", "cpu", "--dtype", "float32")
    rest = ("--batch-size", str(BATCH), "--no-bettertransformer", "--log-level", "warning")
    return Contender(
        name="infinity",
        remark=f"Infinity on torch, a model a head, two calls an ad, batches of {BATCH}",
        command=(
            "{scripts}/infinity_emb", "v2", "--host", "127.0.0.1", "--port", "{port}",
            *models, *names, *engine, *rest,
        ),
        calls=tuple(call(head) for head in HEADS),
        variables={"OMP_NUM_THREADS": "{threads}"},
        environment="infinity",
        # It does not support newer versions of these.
        requirements=(
            *pinned("torch"), "transformers==4.57.6", "numpy==1.26.4",
            "infinity-emb[server,torch]==0.0.78",
        ),
        batch=BATCH,
    )  # fmt: skip


PEERS: Sequence[Contender] = (
    _fastapi("fastapi", "FastAPI, a call of transformers a request"),
    # It counts the new connection too.
    _fastapi(
        f"fastapi-limit-{LIMIT}",
        f"likewise, {LIMIT} at once",
        *("--limit-concurrency", str(LIMIT + 1)),
        limit=LIMIT,
    ),
    _mosec("mosec", "mosec, batches of 1"),
    _mosec(f"mosec-limit-{LIMIT}", f"likewise, a queue of {LIMIT}", limit=LIMIT),
    _mosec(f"mosec-batch-{BATCH}", f"mosec, batches of {BATCH}", batch=BATCH),
    _litserve("litserve", "LitServe, batches of 1", 1),
    _litserve(f"litserve-batch-{BATCH}", f"LitServe, batches of {BATCH}", BATCH),
    _ray(),
    _bentoml(),
    _infinity(),
)
