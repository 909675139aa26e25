"""Scripted models behind a gateway that really listens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx
import openai
import pytest
from pydantic import SecretStr

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.gateways.openai.app import Gateway
from antiphon.runtime.gateways.openai.served import ServedModel
from antiphon.runtime.listening import listen
from antiphon.runtime.models.scripted import Line, ScriptedModel
from antiphon.schemas.inference import GenerateRequest

TOKENS = {"web": SecretStr("web-0123456789abcdef"), "owner": SecretStr("own-0123456789abcdef")}
CONTEXT_TOKENS = 40


@dataclass
class Desk:
    """The models, and what a test may hold up, say or look at."""

    says: Line = "one two three"
    asked: list[GenerateRequest] = field(default_factory=list)
    tokens: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def __post_init__(self) -> None:
        """Make the models."""
        self.model = ScriptedModel(self._reply, name="scripted", context_tokens=CONTEXT_TOKENS, embed=vector)
        self.held = ScriptedModel(lambda _: "never ending " * 500, name="held", sleep=self._token)
        self.served = [
            ServedModel(name="scripted", instance=self.model, context_tokens=CONTEXT_TOKENS),
            ServedModel(name="held", instance=self.held),
        ]

    def _reply(self, request: GenerateRequest) -> Line:
        self.asked.append(request)
        if request.sampling.seed is not None:
            return f"seed {request.sampling.seed}"
        return self.says

    async def _token(self, _: float) -> None:
        await self.tokens.acquire()


def vector(text: str) -> Sequence[float]:
    return (float(len(text)), 0.5, -0.25)


@pytest.fixture
async def desk() -> Desk:
    """The models."""
    return Desk()


@pytest.fixture
async def gateway(desk: Desk) -> Gateway:
    """The gateway, with two callers; one of them has another tenant's name."""
    return Gateway(desk.served, TOKENS, clock=SystemClock(), max_body=200_000, tenants={"owner": "acme"})


@pytest.fixture
async def address(gateway: Gateway) -> AsyncIterator[str]:
    """Where it listens."""
    listening = await listen(gateway.app, "127.0.0.1", 0, name="gateway")
    try:
        yield listening.address
    finally:
        gateway.close()
        await listening.stop()


@pytest.fixture
async def http(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with the token of ``web``."""
    headers = {"authorization": f"Bearer {TOKENS['web'].get_secret_value()}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as http:
        yield http


@pytest.fixture
async def ai(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client."""
    key = TOKENS["web"].get_secret_value()
    async with openai.AsyncOpenAI(base_url=f"{address}v1", api_key=key, max_retries=0, timeout=300) as client:
        yield client
