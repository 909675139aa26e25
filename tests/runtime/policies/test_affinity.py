"""Prompts with the same beginning go to the same server of a model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.model_call import ModelCall, run_model_call
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.server import ModelServer
from antiphon.runtime.models.setting import BusSetting
from antiphon.runtime.policies.affinity import FRESH_S, Affine, beginning
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import EmbedRequest, GenerateRequest, Role, Turn, turn
from antiphon.schemas.policy import Affinity, Level, Policy, Proposal

POLICY = Policy(id="a", proposal=Proposal(action=Affinity(imbalance=2.0), target="model m"), level=Level.ON)


def prompt(start: str, end: str = "?") -> tuple[Turn, ...]:
    """A conversation whose beginning is three blocks long."""
    return turn(Role.SYSTEM, start + "x" * 3_000), turn(Role.USER, end)


class Fleet:
    """Servers of model ``m``, what each was asked, and a client's remedy."""

    def __init__(self, bus: MemoryServer, models: ModelRegistry) -> None:
        self._bus = bus
        self._models = models
        self._stack = AsyncExitStack()
        self.aside = Aside()
        self.affine = Affine(models, self.aside, LoopClock())
        self.servers: dict[str, ModelServer] = {}
        self.asked: dict[str, ScriptedModel] = {}

    async def start(self, *names: str, token_s: float = 0.0, waiting: int = 64) -> None:
        """Serve the model on more nodes."""
        for name in names:
            model = self.asked[name] = ScriptedModel(lambda request: "one two three", token_s=token_s)
            server = ModelServer(
                MemoryBus(self._bus),
                "default",
                "m",
                model,
                node=name,
                concurrency=1,
                waiting=waiting,
                clock=LoopClock(),
            )
            self.servers[name] = server
            await server.start()

    async def find(self) -> None:
        """Let the client learn who is there: the first request does, the next ones know."""
        await asyncio.sleep(FRESH_S)
        await self.ask(prompt("first"))
        await asyncio.sleep(1.0)
        for model in self.asked.values():
            model.requests.clear()

    async def ask(self, conversation: tuple[Turn, ...], key: str = "") -> str:
        """A reply through the remedy; ``key``: of an operation that another attempt may share."""
        made = Operation(
            kind=OperationKind.MODEL,
            path="1",
            target="m",
            scope=Scope(tenant="default", run="r", agent="writer"),
            body=b"",
            key=key or new_id(),
            request=ModelCall(request=GenerateRequest(model="m", conversation=conversation)),
        )
        text: str = (await self.affine(made, POLICY, self.carry_out)).value.text
        return text

    async def carry_out(self, operation: Operation) -> Outcome:
        """As the transport does."""
        call: ModelCall = operation.request
        instance = call.instance or await self._models.get("m")
        return await run_model_call(operation, instance, LoopClock(), capture_content=False)

    def loads(self) -> list[int]:
        """How many requests each server had since, most first."""
        return sorted((len(model.requests) for model in self.asked.values()), reverse=True)

    async def close(self) -> None:
        """Stop all."""
        await self.aside.close()
        for server in self.servers.values():
            await server.close()


@asynccontextmanager
async def fleet(home: Path) -> AsyncGenerator[Fleet, None]:
    """None of the servers is there yet."""
    bus = MemoryServer(clock=LoopClock())
    models = ModelRegistry(Settings(home=home, models={"m": BusSetting()}), bus=MemoryBus(bus), clock=LoopClock())
    found = Fleet(bus, models)
    try:
        yield found
    finally:
        await found.close()
        await models.close()


@virtual_time(seeds=range(3))
async def test_one_beginning_has_one_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Twelve prompts that differ only later all go there; other beginnings are spread."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0", "n1", "n2")
        await found.find()
        for number in range(12):
            await found.ask(prompt("alike", str(number)))
        assert found.loads() == [12, 0, 0]
        for number in range(60):
            await found.ask(prompt(f"beginning {number}"))
        assert found.loads()[-1] >= 10


@virtual_time()
async def test_a_server_with_more_than_its_share_is_passed_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of twelve at once with one beginning, none gets more than twice the mean."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0", "n1", "n2", token_s=1.0)
        await found.find()
        await asyncio.gather(*(found.ask(prompt("alike", str(number))) for number in range(12)))
        assert found.loads()[0] <= 8
        assert sum(found.loads()) == 12


@virtual_time(seeds=range(3))
async def test_a_server_that_goes_is_stood_in_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests go on without an error, before the client has noticed and after; one that comes is used."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0", "n1")
        await found.find()
        await found.ask(prompt("alike"))
        home = next(name for name, model in found.asked.items() if model.requests)
        await found.servers[home].close()
        assert await found.ask(prompt("alike")) == "one two three"
        await found.find()
        assert await found.ask(prompt("alike")) == "one two three"
        await found.start("n2", "n3", "n4")
        await found.find()
        for number in range(60):
            await found.ask(prompt(f"beginning {number}"))
        assert [len(found.asked[name].requests) > 0 for name in ("n2", "n3", "n4")] == [True] * 3


@virtual_time()
async def test_a_second_attempt_goes_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Beside one that is slow a hedge at the same server would be slow too; later the beginning has its server."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0", "n1", "n2", token_s=1.0)
        await found.find()
        await asyncio.gather(found.ask(prompt("alike"), "k"), found.ask(prompt("alike"), "k"))
        assert found.loads() == [1, 1, 0]
        for _ in range(2):
            await found.ask(prompt("alike"), "k")
        assert found.loads() == [3, 1, 0]


@virtual_time()
async def test_a_full_server_sends_nobody_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where it refuses, another one of the model is asked."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0", "n1", token_s=1.0, waiting=0)
        await found.find()
        first = asyncio.create_task(found.ask(prompt("alike")))
        await asyncio.sleep(0.5)
        assert await found.ask(prompt("alike")) == "one two three"
        assert await first == "one two three"
        assert found.loads() == [1, 1]


@virtual_time()
async def test_what_cannot_be_placed_goes_to_anybody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Short prompts, vectors, a single server, and models that are not on the bus."""
    async with fleet(tmp_path_factory.mktemp("home")) as found:
        await found.start("n0")
        await found.find()
        assert await found.ask(prompt("alone")) == "one two three"
        assert await found.ask((turn(Role.USER, "short"),)) == "one two three"
    given = ScriptedModel(["here"], embed=lambda text: [1.0])
    registry = ModelRegistry(Settings(home=tmp_path_factory.mktemp("home")), instances={"m": given})
    affine, seen = Affine(registry, Aside(), LoopClock()), list[Operation]()

    async def next(operation: Operation) -> Outcome:
        seen.append(operation)
        return Outcome(None, b"")

    for request in (GenerateRequest(model="m", conversation=prompt("a")), EmbedRequest(model="m", texts=("a",))):
        made = Operation(
            kind=OperationKind.MODEL,
            path="1",
            target="m",
            scope=Scope(tenant="default", run="r"),
            body=b"",
            request=ModelCall(request=request),
        )
        await affine(made, POLICY, next)
        assert seen[-1] is made


def test_the_first_two_blocks_decide() -> None:
    """A difference in them is another beginning, one after them is not; without so much text the system turns do."""
    assert beginning(prompt("a", "x")) == beginning(prompt("a", "y")) != beginning(prompt("b", "x"))
    late = "x" * 1_500
    assert beginning((turn(Role.SYSTEM, late + "a" * 600),)) != beginning((turn(Role.SYSTEM, late + "b" * 600),))
    short = turn(Role.SYSTEM, "be brief")
    assert beginning((short, turn(Role.USER, "a"))) == beginning((short, turn(Role.USER, "b"))) is not None
    assert beginning((turn(Role.USER, "a"),)) is None
