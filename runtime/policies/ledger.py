"""The accounts of runs that have a budget, shared by all nodes through one bucket."""

import asyncio
import random
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from antiphon.runtime.bus.base import Bucket, Bus
from antiphon.runtime.errors import BudgetExceeded, BusError, Busy, Conflict
from antiphon.runtime.policies.account import Account
from antiphon.schemas.identity import derived_id

BUCKET = "antiphon_budgets"
TTL_S = 7 * 86_400.0  # after its last change, for runs whose end nobody saw
TRIES = 24  # of one change against other nodes'
_FIRST_S, _LONGEST_S = 0.002, 0.25  # bounds of the wait before another try; drawn evenly, so that nodes part
_PLAIN = re.compile(r"[A-Za-z0-9_=/-]+")
_PAGES = 1024  # accounts remembered here, so that a run on one node needs no reading


@dataclass(slots=True)
class _Page:
    """An account as this process last saw it. ``revision`` None: it must be read first."""

    account: Account = field(default_factory=Account)
    revision: int | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Ledger:
    """Changes accounts by compare-and-set: of two nodes that spend at once neither addition is lost.

    Within a process the changes of one run wait for one another, so that only nodes compete.
    """

    def __init__(
        self, bus: Bus, *, rng: random.Random, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._bus = bus
        self._rng = rng
        self._sleep = sleep
        self._bucket: Bucket | None = None
        self._pages: OrderedDict[str, _Page] = OrderedDict()

    async def change(self, tenant: str, run: str, change: Callable[[Account], Account]) -> None:
        """Replace the run's account by ``change(account)``, which may run several times.

        What is remembered may be old: the put refuses it, and a BudgetExceeded that ``change`` raises is believed only
        of an account just read.

        Raises:
            BudgetExceeded: from ``change``.
            Busy: other nodes were faster every time; retryable.
            BusError: the bucket cannot be reached, or holds something else.
        """
        key = _key(tenant, run)
        page = self._page(key)
        async with page.lock:
            for attempt in range(TRIES):
                fresh = page.revision is None
                if page.revision is None:
                    page.account, page.revision = await self._read(key)
                try:
                    changed = change(page.account)
                except BudgetExceeded:
                    if fresh:
                        raise
                    page.revision = None
                    continue
                try:
                    page.revision = await self._put(key, changed, page.revision)
                except Conflict:
                    page.revision = None
                    await self._sleep(self._rng.uniform(0, min(_LONGEST_S, _FIRST_S * 2**attempt)))
                    continue
                page.account = changed
                return
        raise Busy(f"the budget of run {run} changed {TRIES} times under this operation: try again later", run=run)

    async def close(self, tenant: str, run: str) -> None:
        """Forget the account of a run whose root has ended, unless detached work still spends from it. Idempotent.

        Raises:
            BusError: the bucket cannot be reached; the entry then goes away TTL_S after its last change.
        """
        key = _key(tenant, run)
        self._pages.pop(key, None)
        account, revision = await self._read(key)
        if revision and not account.outlived:
            await (await self._open()).delete(key)

    async def _read(self, key: str) -> tuple[Account, int]:
        entry = await (await self._open()).get(key)
        if entry is None or entry.value is None:
            return Account(), 0
        try:
            return msgspec.json.decode(entry.value, type=Account), entry.revision
        except msgspec.DecodeError as error:
            raise BusError(
                f"bucket {BUCKET}, key {key}: not an account ({error}); delete the key to count anew"
            ) from None

    async def _put(self, key: str, account: Account, revision: int) -> int:
        return await (await self._open()).put(key, msgspec.json.encode(account), revision=revision)

    async def _open(self) -> Bucket:
        if self._bucket is None:
            self._bucket = await self._bus.buckets.open(BUCKET, ttl_s=TTL_S)
        return self._bucket

    def _page(self, key: str) -> _Page:
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = _Page()
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)  # in use or not: the compare-and-set is what keeps accounts right
        self._pages.move_to_end(key)
        return page


def _key(tenant: str, run: str) -> str:
    """``tenant.run``; a run whose id somebody chose freely goes by a hash where a key cannot hold it."""
    return f"{tenant}.{run if _PLAIN.fullmatch(run) else derived_id('run', run)}"
