"""The teller from another code base, over the bus: typed on both ends, though its class is not imported.

python examples/door/client.py, while antiphon run examples/door/teller.py:system serves it
"""

import asyncio

import antiphon
from antiphon import Client, Done, Message, Restarted, Token


class Question(Message):
    text: str


class Story(Message):
    text: str


tell = antiphon.remote("teller.tell", Question, Story)


async def talk(client: Client, text: str) -> Story:
    async for event in client.stream(tell, Question(text=text)):
        if isinstance(event, Token):
            print(event.text, end="", flush=True)
        elif isinstance(event, Restarted):
            print("\n(once more)")
        elif isinstance(event, Done):
            print()
            return event.value
    raise AssertionError("a stream ends with Done or an error")


async def main() -> None:
    async with antiphon.connect() as client:
        await talk(client, "Why is the sky blue?")


if __name__ == "__main__":
    asyncio.run(main())
