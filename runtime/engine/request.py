"""What is asked of the engine and what it reports, token by token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.schemas.inference import Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """One reply to generate. ``json_schema`` constrains it; past ``deadline_unix_ms`` it is cancelled."""

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    json_schema: Mapping[str, Any] | None = None
    deadline_unix_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class TokenEvent:
    """One sampled token and the text it released: none while a character or a stop string may still be completing."""

    token: int
    text: str
