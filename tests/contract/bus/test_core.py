"""Core messaging: at most once, in order, bounded, and never silent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.errors import BusError, BusUnavailable, MessageTooLarge, NoResponders, RequestTimeout

Connect = Callable[[], Awaitable[Bus]]
_note: ContextVar[str] = ContextVar("note", default="")


class Box:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._more = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._more.set()

    async def wait(self, count: int) -> list[Delivery]:
        """Until ``count`` have come."""
        async with asyncio.timeout(60):
            while len(self.deliveries) < count:
                self._more.clear()
                await self._more.wait()
        return self.deliveries

    @property
    def bodies(self) -> list[bytes]:
        """What they said."""
        return [delivery.body for delivery in self.deliveries]


class TestPublish:
    """``publish`` and ``subscribe``."""

    async def test_whole_message_arrives(self, connect: Connect) -> None:
        """Subject, body, headers and reply arrive as they were sent, between clients."""
        sender, reader, box = await connect(), await connect(), Box()
        await reader.subscribe("a.b", box)
        await sender.publish("a.b", b"body", {"Antiphon-Type": "Question", "x": "ü: y"}, reply="back.here")
        (delivery,) = await box.wait(1)
        assert delivery == Delivery("a.b", b"body", {"Antiphon-Type": "Question", "x": "ü: y"}, "back.here")

    async def test_nothing_is_added(self, bus: Bus) -> None:
        """A message without headers and reply has none; an empty body is legal."""
        box = Box()
        await bus.subscribe("a", box)
        await bus.publish("a", b"")
        (delivery,) = await box.wait(1)
        assert (delivery.body, dict(delivery.headers), delivery.reply) == (b"", {}, "")

    async def test_wildcards(self, bus: Bus) -> None:
        """``*`` is one token, ``>`` one or more."""
        star, rest, exact = Box(), Box(), Box()
        await bus.subscribe("a.*.c", star)
        await bus.subscribe("a.>", rest)
        await bus.subscribe("a", exact)
        for subject in ("a", "a.b", "a.b.c", "a.b.c.d", "b.b.c"):
            await bus.publish(subject, subject.encode())
        await rest.wait(3)
        await exact.wait(1)
        assert star.bodies == [b"a.b.c"]
        assert rest.bodies == [b"a.b", b"a.b.c", b"a.b.c.d"]
        assert exact.bodies == [b"a"]

    async def test_order_one_by_one(self, bus: Bus) -> None:
        """With concurrency 1 messages of one sender are handled in order, each to its end before the next."""
        log: list[tuple[str, int]] = []
        done = asyncio.Event()

        async def slow(delivery: Delivery) -> None:
            number = int(delivery.body)
            log.append(("in", number))
            await asyncio.sleep(0)
            log.append(("out", number))
            if number == 49:
                done.set()

        await bus.subscribe("a", slow)
        for number in range(50):
            await bus.publish("a", str(number).encode())
        await asyncio.wait_for(done.wait(), 60)
        assert log == [(what, number) for number in range(50) for what in ("in", "out")]

    async def test_concurrency_is_a_limit(self, bus: Bus) -> None:
        """At most ``concurrency`` run at a time, and as many as that do."""
        gate, reached, all_done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        running = highest = finished = 0

        async def hold(delivery: Delivery) -> None:
            nonlocal running, highest, finished
            running += 1
            highest = max(highest, running)
            if running == 3:
                reached.set()
            await gate.wait()
            running -= 1
            finished += 1
            if finished == 10:
                all_done.set()

        await bus.subscribe("a", hold, concurrency=3)
        box = Box()
        await bus.subscribe("a", box)
        for _ in range(10):
            await bus.publish("a", b"")
        await box.wait(10)
        await asyncio.wait_for(reached.wait(), 60)
        gate.set()
        await asyncio.wait_for(all_done.wait(), 60)
        assert highest == 3

    async def test_queue_group_shares(self, connect: Connect) -> None:
        """A message goes to one member of each group and to everybody outside groups."""
        sender, left, right = await connect(), await connect(), await connect()
        one, two, other, everybody, group = Box(), Box(), Box(), Box(), Box()

        async def first(delivery: Delivery) -> None:
            await one(delivery)
            await group(delivery)

        async def second(delivery: Delivery) -> None:
            await two(delivery)
            await group(delivery)

        await left.subscribe("a", first, queue="g")
        await right.subscribe("a", second, queue="g")
        await right.subscribe("a", other, queue="h")
        await left.subscribe("a", everybody)
        for number in range(100):
            await sender.publish("a", str(number).encode())
        await other.wait(100)
        await everybody.wait(100)
        await group.wait(100)
        assert sorted(one.bodies + two.bodies) == sorted(everybody.bodies)
        assert one.bodies and two.bodies

    async def test_overflow_is_dropped_and_counted(self, bus: Bus) -> None:
        """More than ``limit`` waiting messages are dropped, counted, and the rest is handled."""
        gate, box, witness = asyncio.Event(), Box(), Box()

        async def hold(delivery: Delivery) -> None:
            await gate.wait()
            await box(delivery)

        await bus.subscribe("a", hold, limit=5)
        await bus.subscribe("a", witness)
        for number in range(20):
            await bus.publish("a", str(number).encode())
        await witness.wait(20)
        assert bus.dropped == 14
        gate.set()
        await box.wait(6)
        assert box.bodies == [b"0", b"1", b"2", b"3", b"4", b"5"]

    async def test_failing_receiver_lives_on(self, bus: Bus) -> None:
        """A receiver that raises gets the next message."""
        box = Box()

        async def fail(delivery: Delivery) -> None:
            await box(delivery)
            raise ValueError("on purpose")

        await bus.subscribe("a", fail)
        await bus.publish("a", b"1")
        await bus.publish("a", b"2")
        await box.wait(2)
        assert box.bodies == [b"1", b"2"]

    async def test_stop_takes_no_more(self, bus: Bus) -> None:
        """After ``stop`` nothing new arrives; what had arrived is handled; stopping twice is fine."""
        gate, box, witness = asyncio.Event(), Box(), Box()

        async def hold(delivery: Delivery) -> None:
            await gate.wait()
            await box(delivery)

        subscription = await bus.subscribe("a", hold)
        await bus.subscribe("a", witness)
        await bus.publish("a", b"1")
        await bus.publish("a", b"2")
        await witness.wait(2)
        await subscription.stop()
        await subscription.stop()
        await bus.publish("a", b"3")
        await witness.wait(3)
        gate.set()
        await box.wait(2)
        assert box.bodies == [b"1", b"2"]

    async def test_context_does_not_leak(self, bus: Bus) -> None:
        """What a receiver puts into a context variable stays with its message."""
        seen: list[str] = []
        done = asyncio.Event()

        async def receive(delivery: Delivery) -> None:
            seen.append(_note.get())
            _note.set(delivery.body.decode())
            if len(seen) == 3:
                done.set()

        await bus.subscribe("a", receive)
        for number in range(3):
            await bus.publish("a", str(number).encode())
        await asyncio.wait_for(done.wait(), 60)
        assert seen == ["", "", ""]

    @pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0\r\n\r\n", "a\tb", "x" * 600])
    async def test_illegal_subject(self, bus: Bus, subject: str) -> None:
        """A subject that would break the protocol is refused before it is sent."""
        with pytest.raises(BusError):
            await bus.publish(subject, b"")

    @pytest.mark.parametrize("pattern", ["a..b", "a.>.b", "a.b*", ".a", "a b", ""])
    async def test_illegal_pattern(self, bus: Bus, pattern: str) -> None:
        """So is a pattern that a server would refuse."""
        with pytest.raises(BusError):
            await bus.subscribe(pattern, Box())

    @pytest.mark.parametrize("headers", [{"a": "b\r\nc: d"}, {"a\n": "b"}, {"": "b"}, {"a:b": "c"}, {"a b": "c"}])
    async def test_illegal_header(self, bus: Bus, headers: dict[str, str]) -> None:
        """So is a header that would be read as something else."""
        with pytest.raises(BusError):
            await bus.publish("a", b"", headers)


class TestRequest:
    """``request``."""

    async def test_answer(self, connect: Connect) -> None:
        """The answer comes back whole, and each request gets its own."""
        asker, server = await connect(), await connect()

        async def echo(delivery: Delivery) -> None:
            await server.publish(delivery.reply, delivery.body, {"For": delivery.headers.get("Who", "")})

        await server.subscribe("echo", echo, concurrency=8)
        answers = await asyncio.gather(
            *(asker.request("echo", str(n).encode(), {"Who": f"w{n}"}, timeout_s=60) for n in range(100))
        )
        assert [answer.body for answer in answers] == [str(n).encode() for n in range(100)]
        assert [answer.headers["For"] for answer in answers] == [f"w{n}" for n in range(100)]

    async def test_no_responders_at_once(self, bus: Bus) -> None:
        """Nobody listens: an error long before the time is up."""
        async with asyncio.timeout(30):
            with pytest.raises(NoResponders, match=r"a\.b"):
                await bus.request("a.b", b"", timeout_s=60)

    async def test_timeout(self, bus: Bus) -> None:
        """Nobody answers: an error at the given time, give or take 50 ms, and what a busy machine adds."""
        await bus.subscribe("a", Box())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(RequestTimeout, match=r"0\.2 s"):
            await bus.request("a", b"", timeout_s=0.2)
        assert 0.15 <= loop.time() - begun < 4

    async def test_late_answer_is_ignored(self, bus: Bus) -> None:
        """An answer after the time is up disturbs nobody."""
        box = Box()
        await bus.subscribe("a", box)
        with pytest.raises(RequestTimeout):
            await bus.request("a", b"", timeout_s=0.05)
        await bus.publish(box.deliveries[0].reply, b"late")

        async def answer(delivery: Delivery) -> None:
            await bus.publish(delivery.reply, b"in time")

        await bus.subscribe("b", answer)
        assert (await bus.request("b", b"", timeout_s=60)).body == b"in time"

    async def test_close_answers_who_waits(self, bus: Bus) -> None:
        """Closing raises BusUnavailable at every waiting request, and at everything after it."""
        box = Box()
        await bus.subscribe("a", box)
        waiting = [asyncio.ensure_future(bus.request("a", b"", timeout_s=60)) for _ in range(3)]
        await box.wait(3)
        await bus.close()
        await bus.close()
        for request in waiting:
            with pytest.raises(BusUnavailable):
                await asyncio.wait_for(request, 60)
        with pytest.raises(BusUnavailable):
            await bus.publish("a", b"")
        with pytest.raises(BusUnavailable):
            await bus.request("a", b"", timeout_s=1)

    async def test_close_ends_receivers(self, bus: Bus) -> None:
        """A receiver that still runs when the bus closes is cancelled."""
        entered, ended = asyncio.Event(), asyncio.Event()

        async def hang(delivery: Delivery) -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await bus.subscribe("a", hang)
        await bus.publish("a", b"")
        await asyncio.wait_for(entered.wait(), 60)
        await bus.close()
        await asyncio.wait_for(ended.wait(), 60)


class TestSize:
    """The payload limit counts headers and body."""

    async def test_at_the_edge(self, bus: Bus) -> None:
        """Exactly the limit passes; one byte more is refused with both numbers."""
        box = Box()
        await bus.subscribe("a", box)
        headers = {"Antiphon-Type": "x" * 100}
        block = len("NATS/1.0\r\nAntiphon-Type: \r\n\r\n") + 100
        await bus.publish("a", b"x" * (bus.max_payload - block), headers)
        (delivery,) = await box.wait(1)
        assert len(delivery.body) == bus.max_payload - block
        with pytest.raises(MessageTooLarge) as refusal:
            await bus.publish("a", b"x" * (bus.max_payload - block + 1), headers)
        assert refusal.value.details["size"] == str(bus.max_payload + 1)
        assert refusal.value.details["limit"] == str(bus.max_payload)

    async def test_everywhere(self, bus: Bus) -> None:
        """Requests and appends are measured too, and the bus works on."""
        body = b"x" * (bus.max_payload + 1)
        with pytest.raises(MessageTooLarge):
            await bus.request("a", body, timeout_s=1)
        with pytest.raises(MessageTooLarge):
            await bus.streams.append("a", body)
        box = Box()
        await bus.subscribe("a", box)
        await bus.publish("a", b"fine")
        await box.wait(1)
