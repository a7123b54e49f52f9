"""The server's settings: one frozen object, read once and checked as a whole.

Each setting is the environment variable `DOPPELKOPF_<NAME>` and an option of `doppelkopf serve`.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.errors import SettingsError

PREFIX = "DOPPELKOPF_"
CLIENT_KEY = "api_key"
"""The variable with the key that client commands send. It is not a setting, but is allowed
in a server's environment, because operators run both in one shell."""

KEY_PATTERN = re.compile(r"[\x21-\x7e]{16,}")
Access = Literal["open", "key", "off"]


class Settings(BaseSettings):
    """The server's settings. A field's description is the help text of its option."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    model: Path = Field(Path("model_store/demo"), description="checkpoint folder to serve")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU if any")
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int8"] = Field(
        "auto",
        description="type to compute in; auto is float32 on a CPU and float16 on CUDA; "
        "int8 is for CPUs",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that take requests; from 2 on, the engine runs in its own process",
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the engine; 0: all cores")
    max_batch_tokens: int = Field(
        0, ge=0, description="tokens of one encoder pass; 0: 1024 on a CPU, 32768 on CUDA"
    )
    max_windows: int = Field(
        4, ge=1, le=64, description="windows of a long ad that are read at most; the rest is cut"
    )
    max_queued_ads: int = Field(
        4096, ge=1, description="ads admitted and not yet answered; more are refused with 429"
    )
    max_queue_seconds: float = Field(
        3.0, gt=0, description="seconds of work that may be ahead of a request; beyond it, 429"
    )
    max_batch_ads: int = Field(
        256, ge=1, description="ads of one POST /classify/batch; lines of a stream in work at once"
    )
    explain_concurrency: int = Field(
        2, ge=0, description="ads that a process explains at once; more get 429; 0: none"
    )
    explain_tokens: int = Field(
        8192,
        ge=64,
        description="tokens of an explained ad's variants; sentences are joined until they fit",
    )
    max_body_bytes: int = Field(
        8 * 2**20, ge=1024, description="bytes of a body or a stream's line; a larger one gets 413"
    )
    grace_seconds: float = Field(
        30.0, ge=0, description="seconds to finish accepted work after SIGTERM"
    )
    client_seconds: float = Field(
        30.0,
        gt=0,
        description="seconds a client has to send the head, then the body, then to take the answer",
    )
    hang_seconds: float = Field(
        30.0,
        gt=0,
        description="seconds that a batch may take beyond 10 times its expected time; "
        "then the server ends",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="accepted API keys, separated by commas; none leaves the service open"
    )
    admin_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="keys for POST /admin/model, separated by commas; none: no such route"
    )
    metrics_access: Access = Field(
        "open", description="/metrics: open to all, with a key only, or off"
    )
    docs_access: Access = Field(
        "open", description="/docs and /openapi.json: open to all, with a key only, or off"
    )
    log_format: Literal["text", "json"] = Field("text", description="how log lines are written")

    @field_validator("api_keys", "admin_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(key for part in value.split(",") if (key := part.strip()))

    @field_validator("api_keys", "admin_keys")
    @classmethod
    def _keys_are_well_formed(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        # Other characters cannot be sent in a header, or not by every client.
        if not all(KEY_PATTERN.fullmatch(key.get_secret_value()) for key in keys):
            raise ValueError(
                "a key needs at least 16 characters, letters, digits and signs of ASCII only"
            )
        return keys

    @model_validator(mode="after")
    def _batch_fits_queue(self) -> "Settings":
        if self.max_batch_ads > self.max_queued_ads:
            raise ValueError(
                f"MAX_BATCH_ADS ({self.max_batch_ads}) is above MAX_QUEUED_ADS "
                f"({self.max_queued_ads}), so a full batch could never be admitted"
            )
        return self

    @model_validator(mode="after")
    def _keys_exist_where_needed(self) -> "Settings":
        for name in ("metrics_access", "docs_access"):
            if getattr(self, name) == "key" and not self.api_keys:
                raise ValueError(f"{name.upper()} is 'key', but there are no API_KEYS")
        return self


def load_settings(
    overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings from the environment; `overrides`, by field name, take precedence.

    Raises:
        SettingsError: a variable is unknown, or a value is invalid; one sentence.
    """
    environment = os.environ if environment is None else environment
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != f"{PREFIX}{CLIENT_KEY.upper()}"
    }
    known = Settings.model_fields
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}" if near else ""
            raise SettingsError(f"{PREFIX}{name.upper()} is no setting of Doppelkopf{hint}.")
    try:
        # All values are passed in, so that tests need no process environment.
        return Settings(**{**given, **(overrides or {})})
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"The settings contradict each other: {message}."
    return f"{PREFIX}{str(first['loc'][0]).upper()}: {message}."
