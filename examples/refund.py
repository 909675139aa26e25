"""Durable work: an effect that happens once, a person who decides, a wait that outlives every process.

antiphon run examples/refund.py:system
antiphon submit refunds.refund '{"customer": "ada", "cents": 4200}'
antiphon approvals list
antiphon approvals answer ID --approve --edit '{"customer": "ada", "cents": 4000}'
"""

import sqlite3
from pathlib import Path

from antiphon import Agent, Context, Message, System

LEDGER = Path("ledger.db")


class Refund(Message):
    """What a customer should get back."""

    customer: str
    cents: int


class Receipt(Message):
    """What became of it."""

    paid_cents: int
    decided_by: str


refunds = Agent("refunds", slots=4)


def pay(refund: Refund, key: str) -> int:
    """Pay once for a key: a second call with the same one changes nothing."""
    with sqlite3.connect(LEDGER) as ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS paid (key TEXT PRIMARY KEY, customer TEXT, cents INTEGER)")
        ledger.execute("INSERT OR IGNORE INTO paid VALUES (?, ?, ?)", (key, refund.customer, refund.cents))
    return refund.cents


@refunds.handles
async def refund(request: Refund, ctx: Context) -> Receipt:
    """Ask a person, pay, and look again after a while."""
    decision = await ctx.approve(request, to="role:support", timeout="2d", on_timeout="reject")
    if not decision.approved:
        return Receipt(paid_cents=0, decided_by=decision.by)

    async def charge(key: str) -> int:  # takes the idempotency key, so it may be repeated after a crash
        return pay(decision.value, key)

    paid = await ctx.run("pay", charge, effect="write")
    await ctx.sleep("3s")  # or "30d": a task that waits has no slot, no lease and no memory
    return Receipt(paid_cents=paid, decided_by=decision.by)


system = System("refunds", agents=[refunds])
