"""Accounts in the bucket: no addition is lost, refusals are fresh, entries go when their run ends."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.errors import BudgetExceeded, BusError, Busy
from antiphon.runtime.policies.account import Account
from antiphon.runtime.policies.ledger import BUCKET, TRIES, Ledger

MakeLedger = Callable[[], Ledger]


def account_of(server: MemoryServer, run: str = "r") -> Account | None:
    """The account in the bucket; None: there is no entry."""
    entry = server.stores[BUCKET].live.get(f"default.{run}")
    return None if entry is None or entry.value is None else msgspec.json.decode(entry.value, type=Account)


def step(account: Account) -> Account:
    """One step more."""
    return account.spend({"steps": 1.0})


async def test_nodes_that_spend_at_once_lose_nothing(server: MemoryServer, ledger_of_a_node: MakeLedger) -> None:
    """Three nodes add forty steps each, all at the same time."""
    nodes = [ledger_of_a_node() for _ in range(3)]
    await asyncio.gather(*(node.change("default", "r", step) for node in nodes for _ in range(40)))
    assert account_of(server) == Account(spent={"steps": 120.0})


@pytest.mark.nats
async def test_nodes_on_a_real_server_lose_nothing_either(tmp_path: Path) -> None:
    """Its revisions are the fence; what is closed there counts from nothing again."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(embedded_server(tmp_path))
        nodes: list[Ledger] = []
        for seed in range(2):
            bus = await NatsBus.connect(address.url, address.token)
            stack.push_async_callback(bus.close)
            nodes.append(Ledger(bus, rng=random.Random(seed)))
        for expected in (40.0, 20.0):
            await asyncio.gather(
                *(node.change("default", "r", step) for node in nodes for _ in range(int(expected / 2)))
            )
            found: list[Account] = []
            await nodes[0].change("default", "r", partial(_note, found))
            assert found[-1] == Account(spent={"steps": expected})
            await nodes[1].close("default", "r")


def _note(found: list[Account], account: Account) -> Account:
    found.append(account)
    return account


async def test_a_refusal_is_made_of_a_fresh_account(ledger_of_a_node: MakeLedger) -> None:
    """What another node gave back since is seen before an operation is refused."""
    here, there = ledger_of_a_node(), ledger_of_a_node()
    limits, wanted = {"tokens": 10.0}, {"tokens": 8.0}

    def hold(account: Account) -> Account:
        if account.shortage(limits, wanted, "t:2") is not None:
            raise BudgetExceeded("too much")
        return account.hold("t:2", wanted)

    await here.change("default", "r", lambda account: account.hold("t:1", wanted))
    with pytest.raises(BudgetExceeded):
        await here.change("default", "r", hold)
    await here.change("default", "r", step)
    await there.change("default", "r", lambda account: account.settle("t:1", {"tokens": 1.0}))
    await here.change("default", "r", hold)


async def test_others_that_are_always_faster_make_the_node_busy(server: MemoryServer) -> None:
    """After a bounded number of tries, with growing pauses between them, and retryable."""
    other, pauses = Ledger(MemoryBus(server), rng=random.Random(1)), list[float]()

    async def overtaken(pause_s: float) -> None:
        pauses.append(pause_s)

    slow = Ledger(MemoryBus(server), rng=random.Random(1), sleep=overtaken)
    await slow.change("default", "r", step)
    changes = iter(range(1_000))

    def late(account: Account) -> Account:
        bucket = server.stores[BUCKET]
        bucket.put("default.r", b'{"spent":{"steps":%d}}' % next(changes), None)
        return step(account)

    with pytest.raises(Busy, match=f"run r changed {TRIES} times"):
        await slow.change("default", "r", late)
    assert len(pauses) == TRIES
    assert max(pauses) <= 0.25
    await other.change("default", "r", step)


async def test_an_ended_run_is_forgotten_unless_something_outlives_it(
    server: MemoryServer, ledger_of_a_node: MakeLedger
) -> None:
    """By all nodes: the next one under this id counts from nothing."""
    here, there = ledger_of_a_node(), ledger_of_a_node()
    for run in ("r", "detached"):
        await here.change("default", run, step)
    await there.change("default", "detached", lambda account: account.lasting())
    for run in ("r", "detached", "unknown"):
        await there.close("default", run)
    assert account_of(server) is None
    assert account_of(server, "detached") == Account(spent={"steps": 1.0}, outlived=True)
    await here.change("default", "r", step)
    assert account_of(server) == Account(spent={"steps": 1.0})


async def test_a_run_may_have_any_id(server: MemoryServer, ledger_of_a_node: MakeLedger) -> None:
    """One that no key could hold, too: ids may come from outside."""
    await ledger_of_a_node().change("default", "order 7: 1/2*", step)
    (key,) = server.stores[BUCKET].live
    assert account_of(server, key.removeprefix("default.")) == Account(spent={"steps": 1.0})


async def test_an_entry_that_is_no_account_is_told(server: MemoryServer, ledger_of_a_node: MakeLedger) -> None:
    """Counting anew without a word would give the run its budget twice."""
    bucket = await MemoryBus(server).buckets.open(BUCKET)
    await bucket.put("default.r", b'{"spent":{"steps":"x"}}')
    with pytest.raises(BusError, match=r"key default.r: not an account.*delete the key"):
        await ledger_of_a_node().change("default", "r", step)
