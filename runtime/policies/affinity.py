"""Prompts with the same beginning go to the same server of a model, whose cache has that beginning."""

import hashlib
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import BusError, ModelUnavailable
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.prompt import text_blocks
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.rendezvous import placed
from antiphon.schemas import policy as policies
from antiphon.schemas.inference import EmbedRequest, Role, Turn

FRESH_S: Final = 5.0  # for so long the servers that answered are taken to be all there are
ANSWER_S: Final = 0.25  # for servers to say that they are there
CHOICES: Final = 3  # servers that are asked in turn where one has gone or is full, before whoever takes the request
BLOCKS: Final = 2  # of the prompt that decide: block 0 alone is often the same for everybody (patterns.md, 4.2)

log = structlog.get_logger()


@dataclass(slots=True)
class _Servers:
    """Those of one model: who answered last, when they were asked, and what this process has under way at each.

    ``serving``: where the first attempt of an operation is, by the operation's key.
    """

    names: tuple[str, ...] = ()
    asked_s: float = float("-inf")
    load: Counter[str] = field(default_factory=Counter)
    serving: dict[str, str] = field(default_factory=dict)

    def order(self, beginning: str, operation: str, imbalance: float) -> list[str]:
        """The servers for one more request, best first; a second attempt of an operation goes elsewhere."""
        found = placed(beginning, {name: self.load[name] for name in self.names}, imbalance)
        return sorted(found, key=lambda name: name == self.serving.get(operation))

    @contextmanager
    def at(self, server: str, operation: str) -> Generator[None, None, None]:
        """For the body of the ``with`` the server has one more request."""
        is_first = bool(operation) and operation not in self.serving  # not all that is asked from outside has a key
        if is_first:
            self.serving[operation] = server
        self.load[server] += 1
        try:
            yield
        finally:
            self.load[server] -= 1
            if not self.load[server]:
                del self.load[server]
            if is_first:
                del self.serving[operation]


class Affine:
    """Chooses the server of a model that others serve on the bus; any other model is left alone.

    The beginning of the prompt decides, by rendezvous hashing with bounded loads. Loads are this process's own
    requests: others spread theirs the same way. Where a server has gone, or is full, the next ones in order are asked.
    """

    def __init__(self, models: ModelRegistry, aside: Aside, clock: Clock) -> None:
        self._models = models
        self._aside = aside
        self._clock = clock
        self._found: dict[str, _Servers] = {}  # by model: as many as settings name

    async def __call__(self, operation: Operation, policy: policies.Policy, next: Next) -> Outcome:
        """See Remedy."""
        action = policy.proposal.action
        assert isinstance(action, policies.Affinity)
        call: ModelCall = operation.request
        key = None if isinstance(call.request, EmbedRequest) else beginning(call.request.conversation)
        model = call.instance or await self._models.get(operation.target)
        if key is None or not isinstance(model, BusModel):
            return await next(operation)
        servers = self._found.setdefault(operation.target, _Servers())
        self._ask(model, servers)
        if len(servers.names) < 2:
            return await next(operation)
        order = servers.order(key, operation.key, action.imbalance)
        try:
            with servers.at(order[0], operation.key):
                return await next(replace(operation, request=replace(call, instance=model.at(*order[:CHOICES]))))
        except ModelUnavailable:
            servers.names = tuple(name for name in servers.names if name != order[0])  # until it answers again
            raise

    def _ask(self, model: BusModel, servers: _Servers) -> None:
        """Find out who is there, if that is not known or was long ago; this request goes by what is known."""
        now_s = self._clock.monotonic_s()
        if now_s - servers.asked_s < FRESH_S:
            return
        if self._aside.start(lambda: _look(model, servers)):
            servers.asked_s = now_s


async def _look(model: BusModel, servers: _Servers) -> None:
    try:
        servers.names = await model.servers(wait_s=ANSWER_S)
    except BusError as error:
        log.info("model_servers_not_found", error=error.message)


def beginning(conversation: Sequence[Turn]) -> str | None:
    """What decides where a prompt goes: its first BLOCKS blocks, else its system turns; None: it is short."""
    blocks = text_blocks(conversation)
    if len(blocks) >= BLOCKS:
        return blocks[BLOCKS - 1]  # hashes roll: this one is of both
    system = [part.model_dump_json() for turn in conversation if turn.role is Role.SYSTEM for part in turn.parts]
    return hashlib.sha256("".join(system).encode()).hexdigest() if system else None
