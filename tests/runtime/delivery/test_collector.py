"""Blobs go when nobody can need them any more, and never before."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.bus.base import BlobEntry, StoredMessage
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.delivery.bodies import BUCKET, INLINE_MAX, Reference, keep_blob, pack
from antiphon.runtime.delivery.collector import GRACE_S, NOBODY, Buried, collect, garbage, take_turn
from antiphon.runtime.delivery.dead_letter import MAX_BODY, bury
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.runtime.virtual_time import ManualClock
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

GRACE_MS = int(GRACE_S * 1000)
TTL_S = 100_000
DIGESTS = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> AsyncGenerator[MemoryBus, None]:
    """A bus with its streams."""
    found = MemoryBus(MemoryServer(clock=clock))
    await ensure_streams(found)
    yield found
    await found.close()


async def rounds(bus: MemoryBus, clock: ManualClock, count: int = 2) -> int:
    """Collect now and after each grace; how many blobs went."""
    gone = 0
    for _ in range(count):
        gone += await collect(bus, clock, result_ttl_s=TTL_S)
        clock.advance(GRACE_S + 1)
    return gone


async def finish(bus: MemoryBus, task: str) -> None:
    """The task's outcome."""
    result = TaskResult(task=task, state=TaskState.SUCCEEDED, started_unix_ms=0, finished_unix_ms=0)
    assert await store_result(bus, "default", result, ttl_s=TTL_S)


class TestGarbage:
    """The decision."""

    @given(
        ages=st.dictionaries(DIGESTS, st.integers(0, 3 * GRACE_MS)),
        ends=st.lists(st.tuples(DIGESTS, st.integers(0, 20))),
        buried=st.frozensets(DIGESTS),
    )
    def test_nothing_that_is_needed(
        self, ages: dict[str, int], ends: list[tuple[str, int]], buried: frozenset[str]
    ) -> None:
        """A blob goes exactly when it is past its grace, nobody refers to it and no dead letter names it."""
        now = 10 * GRACE_MS
        blobs = [BlobEntry(digest=digest, size=1, unix_ms=now - age) for digest, age in ages.items()]
        references = [
            Reference(tenant="t", digest=digest, owner=str(index), expires_unix_ms=end * GRACE_MS)
            for index, (digest, end) in enumerate(ends)
        ]
        found = garbage(blobs, references, Buried(digests=buried, tasks=frozenset()), now_unix_ms=now)
        assert {blob.digest for blob in found.blobs} == {
            digest
            for digest, age in ages.items()
            if age > GRACE_MS and digest not in buried and digest not in {digest for digest, _ in ends}
        }
        assert all(0 < one.expires_unix_ms <= now and one.digest not in buried for one in found.references)

    def test_a_dead_task_keeps_all_it_referred_to(self) -> None:
        """Its journal may need values that its letter does not name."""
        reference = Reference(tenant="t", digest="a" * 64, owner="x", expires_unix_ms=1)
        buried = Buried(digests=frozenset(), tasks=frozenset({("t", "x")}))
        assert garbage([], [reference], buried, now_unix_ms=2).references == ()
        assert garbage([], [reference], NOBODY, now_unix_ms=2).references == (reference,)


class TestCollect:
    """The work."""

    async def test_a_blob_without_reference_outlives_its_grace_only(self, bus: MemoryBus, clock: ManualClock) -> None:
        """Its reader has had ten minutes."""
        await pack(bus, b"x" * (INLINE_MAX + 1), {}, "default", None)
        clock.advance(GRACE_S - 1)
        assert await collect(bus, clock, result_ttl_s=TTL_S) == 0
        clock.advance(2)
        assert await collect(bus, clock, result_ttl_s=TTL_S) == 1
        assert await bus.blobs.entries() == []

    async def test_unfinished_work_keeps_its_blobs(self, bus: MemoryBus, clock: ManualClock) -> None:
        """However long it waits."""
        await keep_blob(bus, b"content", "default", "t")
        clock.advance(1_000 * TTL_S)
        assert await rounds(bus, clock, 3) == 0

    async def test_finished_work_keeps_them_as_long_as_its_result(self, bus: MemoryBus, clock: ManualClock) -> None:
        """Also where the worker never released them; then blob and reference go."""
        await keep_blob(bus, b"content", "default", "t")
        await finish(bus, "t")
        assert await rounds(bus, clock, 3) == 0
        clock.advance(TTL_S)
        assert await rounds(bus, clock) == 1
        assert await (await bus.buckets.open(BUCKET)).entries() == []

    async def test_another_task_with_the_same_content(self, bus: MemoryBus, clock: ManualClock) -> None:
        """What one has finished with, the other still has."""
        for task in ("t", "u"):
            await keep_blob(bus, b"content", "default", task)
        await finish(bus, "t")
        await collect(bus, clock, result_ttl_s=TTL_S)
        clock.advance(TTL_S + 1)
        assert await rounds(bus, clock, 3) == 0

    async def test_a_dead_letter_keeps_its_body(self, bus: MemoryBus, clock: ManualClock) -> None:
        """A person may come after weeks."""
        message = StoredMessage("antiphon.default.task.a.b", b"x" * (MAX_BODY + 1), {}, 7, 0)
        await bury(bus, clock, "default", "a", message, reason=ErrorInfo(type="T", message="m"), attempts=1, task="t")
        await keep_blob(bus, b"value in the journal", "default", "t")
        await finish(bus, "t")
        await collect(bus, clock, result_ttl_s=TTL_S)
        clock.advance(20 * TTL_S)
        assert await rounds(bus, clock, 3) == 0
        await bus.streams.purge("ANTIPHON_DEAD")
        assert await rounds(bus, clock, 3) == 2


async def test_one_node_takes_the_turn(bus: MemoryBus) -> None:
    """The first that asks collects, the others leave it."""
    assert [await take_turn(bus, node) for node in ("one", "two", "one")] == [True, False, False]
