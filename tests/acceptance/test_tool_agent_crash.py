"""The agent with two tools on a real server, with the real small model, while its node is killed."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import connect
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.loader import load_system

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

ASSISTANT = f"{Path(__file__).parents[2] / 'examples' / 'assistant.py'}:system"


async def test_the_assistant_uses_a_tool_and_outlives_its_node(place: "Place", models_home: Path) -> None:
    """Killed when its first model call is recorded: another node ends it, and what was recorded stays as it was."""
    place.home.mkdir()
    (place.home / "models").symlink_to(models_home)
    node = await asyncio.to_thread(place.node, target=ASSISTANT)
    (shop,) = load_system(ASSISTANT).agents
    serve = shop.handlers["serve"]
    async with connect(settings=place.settings) as client:
        task = await client.submit(serve, serve.input(text="What is the price of tea?"))
        bus = client.host.bus
        async with asyncio.timeout(240):
            while not (before := (await read_history(bus, "default", task.id))[0].entries):  # noqa: ASYNC110 - on the bus
                await asyncio.sleep(0.01)
        node.process.kill()
        await asyncio.to_thread(place.node, target=ASSISTANT)
        assert (await task.result(timeout_s=240)).text.strip()
        after = (await read_history(bus, "default", task.id))[0].entries
    assert before.items() <= after.items()
    assert [entry.operation for path, entry in sorted(after.items())] == ["model", "tool", "model"], after
    assert after["2.a.1"].target == "price"
    assert after["2.a.1"].value == b"450"
