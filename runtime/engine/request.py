"""What is asked of the engine and what it reports, token by token. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.schemas.inference import Finish, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """One reply to generate.

    ``json_schema`` constrains it; past ``deadline_unix_ms`` it is cancelled. ``run`` names the program that the call
    is a step of (None: a program of its own) and ``agent`` whose replies its drafts may come from. A ``priority``
    below 0 is batch work, which fills what online work leaves. ``tenant`` owns the cached pages and pays.
    """

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    json_schema: Mapping[str, Any] | None = None
    deadline_unix_ms: int | None = None
    run: str | None = None
    agent: str | None = None
    priority: int = 0  # -9 to 9, higher goes first
    tenant: str = ""

    @property
    def batch(self) -> bool:
        """Whether it may wait for a quiet moment."""
        return self.priority < 0


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """Natural logarithm of a token's probability before temperature and filters, and the likeliest alternatives."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # (id, logprob), likeliest first


@dataclass(frozen=True, kw_only=True)
class TokenEvent:
    """One sampled token and the text it released: none while a character or a stop string may still be completing."""

    request: str
    token: int
    text: str
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, kw_only=True)
class FinishEvent:
    """The end of a request that was admitted."""

    request: str
    finish: Finish


@dataclass(frozen=True, kw_only=True)
class FailureEvent:
    """The end of a request whose schema, memory or computation failed; no other request is touched."""

    request: str
    error: Exception


Event = TokenEvent | FinishEvent | FailureEvent
