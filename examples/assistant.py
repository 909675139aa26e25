"""An agent with two tools. Kill its node at any moment: another goes on, and nothing is ordered twice.

antiphon run examples/assistant.py:system
antiphon submit shop.serve '{"text": "What is the price of tea?"}' --wait
"""

import asyncio
from pathlib import Path
from typing import Literal

from antiphon import Agent, Context, Message, System, tool


class Line(Message):
    text: str


@tool(effect="read", ttl="10m", timeout="5s")
async def price(item: Literal["tea", "coffee"]) -> int:
    """What a pound of tea or coffee costs, in cents."""
    return {"tea": 450, "coffee": 900}[item]  # if a tool raises, the model is told


@tool(effect="write")  # models do not see the key; it makes one order of what is tried twice
async def order(item: Literal["tea", "coffee"], pounds: int, idempotency_key: str = "") -> str:
    """Order pounds of an item."""
    await asyncio.to_thread(Path(f"order {idempotency_key}").write_text, f"{pounds} {item}")
    return f"ordered: {pounds} pounds of {item}"


shop = Agent("shop", tools=[price, order])


@shop.handles
async def serve(wish: Line, ctx: Context) -> Line:
    """Do what somebody wishes, with as many model calls and tools as that takes."""
    return Line(text=await ctx.model.run(str, wish.text, max_steps=6))


system = System("shop", agents=[shop])
