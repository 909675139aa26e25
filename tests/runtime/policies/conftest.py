"""Operations of one run, as handlers on several nodes make them."""

import random
from collections.abc import Callable, Mapping

import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.policies.chain import Operation, OperationKind, Scope
from antiphon.runtime.policies.ledger import Ledger
from antiphon.schemas.inference import EmbedRequest, GenerateRequest, Role, Sampling, turn

MakeOperation = Callable[..., Operation]


@pytest.fixture
def server() -> MemoryServer:
    """What the nodes of one test share."""
    return MemoryServer()


@pytest.fixture
def ledger_of_a_node(server: MemoryServer) -> Callable[[], Ledger]:
    """A ledger with a connection of its own, as every process has one."""
    return lambda: Ledger(MemoryBus(server), rng=random.Random(1))


@pytest.fixture
def make_operation() -> MakeOperation:
    """An operation of a handler's task ``t`` in run ``r``."""

    def make(
        kind: OperationKind,
        budget: Mapping[str, float],
        *,
        path: str = "1",
        target: str = "m",
        agent: str = "writer",
        task: str = "t",
        words: str = "one two three",
        max_tokens: int = 10,
        embed: bool = False,
    ) -> Operation:
        request: GenerateRequest | EmbedRequest = GenerateRequest(
            model=target, conversation=(turn(Role.USER, words),), sampling=Sampling(max_tokens=max_tokens)
        )
        if embed:
            request = EmbedRequest(model=target, texts=(words,))
        return Operation(
            kind=kind,
            path=path,
            target=target,
            scope=Scope(tenant="default", run="r", agent=agent, task=task, budget=budget),
            body=b"",
            request=ModelCall(request=request),
        )

    return make
