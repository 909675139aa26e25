"""Reach the newsroom from another process, while ``antiphon run examples/newsroom.py:system`` serves it."""

import asyncio

import antiphon
from antiphon import Client, Done, Message, Token


class Question(Message):
    text: str


class Draft(Message):
    text: str


write = antiphon.remote("writer.write", Question, Draft)  # in one code base, import the handler itself


async def talk(client: Client, question: Question) -> None:
    answer = await client.ask(write, question, timeout_s=120)  # quick, typed, not stored
    print("asked:", answer.text)
    task = await client.submit(write, question, idempotency_key=question.text)  # stored when this returns
    print("submitted:", task.id, (await task.result()).text)
    async for event in client.stream(write, question):  # also Progress, and Restarted when a worker died
        if isinstance(event, Token):
            print(event.text, end="", flush=True)
        elif isinstance(event, Done):
            print("streamed:", event.value.text)


async def main() -> None:
    async with antiphon.connect() as client:
        await talk(client, Question(text="Why is the sky blue?"))


if __name__ == "__main__":
    asyncio.run(main())
