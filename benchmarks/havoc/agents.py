"""The work: roots that fan out to leaves, wait, ask a person, talk, tell others, or are cancelled on the way."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

from antiphon import Agent, Context, Message
from antiphon.runtime.errors import InvalidRequest, TaskDead
from havoc.ledger import Diary, Ledger, Start

SAYING = "so many words that a kill may well come between two of them and nobody will hear one twice"
NAP_S = 3.0  # longer than a task lingers in memory: it is parked
LEASE_S = 3.0  # work of a killed node goes on after 2.25 to 3 s, as heartbeats come every quarter
DOOMED_S = 600.0  # longer than the benchmark
TOPIC = "chaos.told"


class Kind(StrEnum):
    """What a root does."""

    FAN = "fan"  # three leaves write with an idempotency key
    ONCE = "once"  # two leaves write without one
    NAP = "nap"  # parks, and so does its leaf
    ASK = "ask"  # parks until somebody approves
    TALK = "talk"  # streams what the model says
    TELL = "tell"  # publishes an event
    FAIL = "fail"  # one leaf refuses, the others are cancelled
    DOOMED = "doomed"  # never ends by itself: it is cancelled


_KINDS = (Kind.FAN,) * 3 + (Kind.ONCE, Kind.NAP, Kind.ASK, Kind.TALK, Kind.TELL, Kind.FAIL, Kind.DOOMED)
TASKS = {Kind.FAN: 4, Kind.ONCE: 3, Kind.FAIL: 4, Kind.DOOMED: 3} | dict.fromkeys(
    (Kind.NAP, Kind.ASK, Kind.TALK, Kind.TELL), 2
)


def kind_of(number: int) -> Kind:
    """What the root of that number does."""
    return _KINDS[number % len(_KINDS)]


class Work(Message):
    """One root or leaf."""

    number: int


class Worked(Message):
    """``doubts``: leaves that ended as InDoubt."""

    number: int
    doubts: int = 0


class Question(Message):
    """What a person is asked."""

    number: int


def agents(node: str, honours: Ledger, ignores: Ledger, diary: Diary) -> list[Agent]:
    """Fresh agents of one node."""
    root, leaf = Agent("root", slots=64, lease_s=LEASE_S), Agent("leaf", slots=64, lease_s=LEASE_S)

    def begun(ctx: Context) -> None:
        diary.note(Start(ctx.task_id, node, ctx.attempt, time.time_ns() // 1_000_000))

    def keyed(ctx: Context, step: str) -> Callable[[str], Awaitable[int]]:
        async def write(key: str) -> int:
            await _slowly(honours.write, ctx.task_id, step, key)
            return 1

        return write

    def unkeyed(ctx: Context, step: str) -> Callable[[], Awaitable[int]]:
        async def write() -> int:
            await _slowly(ignores.write, ctx.task_id, step)
            return 1

        return write

    @leaf.handles
    async def write(work: Work, ctx: Context) -> Worked:
        begun(ctx)
        await ctx.model.generate(str, f"leaf {work.number}", max_tokens=4)
        await ctx.run("put", keyed(ctx, "put"))
        return Worked(number=work.number)

    @leaf.handles
    async def write_once(work: Work, ctx: Context) -> Worked:
        begun(ctx)
        await ctx.run("put", unkeyed(ctx, "put"))
        return Worked(number=work.number)

    @leaf.handles
    async def nap(work: Work, ctx: Context) -> Worked:
        begun(ctx)
        await ctx.sleep(NAP_S)
        await ctx.run("put", keyed(ctx, "put"))
        return Worked(number=work.number)

    @leaf.handles
    async def linger(work: Work, ctx: Context) -> Worked:
        """Parked for ever, or busy for ever."""
        begun(ctx)
        if work.number % 2:
            await ctx.sleep(DOOMED_S)
        await asyncio.sleep(DOOMED_S)
        return Worked(number=work.number)

    @leaf.handles
    async def refuse(work: Work, ctx: Context) -> Worked:
        begun(ctx)
        await ctx.model.generate(str, f"leaf {work.number}", max_tokens=4)
        raise InvalidRequest(f"no {work.number} here: expected another")

    @leaf.on(TOPIC)
    async def told(work: Work, ctx: Context) -> None:
        begun(ctx)
        await ctx.run("put", keyed(ctx, "put"))

    async def once(number: int, ctx: Context) -> int:
        try:
            await ctx.call(write_once, Work(number=number))
        except TaskDead as error:
            if error.details.get("type") != "InDoubt":
                raise
            return 1
        return 0

    @root.handles
    async def begin(work: Work, ctx: Context) -> Worked:
        begun(ctx)
        number, doubts = work.number, 0
        match kind_of(number):
            case Kind.FAN:
                await ctx.gather(*(ctx.call(write, Work(number=number * 3 + index)) for index in range(3)))
            case Kind.ONCE:
                doubts = sum(await ctx.gather(once(number * 2, ctx), once(number * 2 + 1, ctx)))
            case Kind.NAP:
                await ctx.sleep(NAP_S)
                await ctx.call(nap, Work(number=number))
            case Kind.ASK:
                decision = await ctx.approve(Question(number=number), to="role:chaos")
                await ctx.call(write, Work(number=decision.value.number))
            case Kind.TALK:
                await ctx.model.generate(str, f"root {number}", emit=True)
                await ctx.call(write, Work(number=number))
            case Kind.TELL:
                await ctx.publish(TOPIC, work)
            case Kind.FAIL:
                lingering = (ctx.call(linger, Work(number=number * 2 + index)) for index in range(2))
                await ctx.gather(ctx.call(refuse, work), *lingering)
            case Kind.DOOMED:
                await ctx.gather(*(ctx.call(linger, Work(number=number * 2 + index)) for index in range(2)))
        await ctx.run("close", keyed(ctx, "close"))
        return Worked(number=number, doubts=doubts)

    return [root, leaf]


async def _slowly(write: Callable[..., None], *values: str) -> None:
    """Long enough for a kill to come before the effect, and between the effect and its entry."""
    await asyncio.sleep(random.uniform(0.0, 0.03))
    await asyncio.to_thread(write, *values)
    await asyncio.sleep(random.uniform(0.0, 0.03))
