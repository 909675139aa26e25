"""What a client's calls accept and return."""

from typing import assert_type

from antiphon import Client, Done, Gap, Handler, Message, Progress, Restarted, TaskHandle, Token, connect, remote


class Question(Message):
    """Goes in."""

    text: str


class Draft(Message):
    """Comes out."""

    text: str


class Count(Message):
    """Neither."""

    n: int


write = remote("writer.write", Question, Draft)
assert_type(write, Handler[Question, Draft])
remote("writer.write", str, Draft)  # expect-error
remote("writer.write", Question)  # expect-error


async def asks(client: Client) -> None:
    """A reply has the handler's type; another message, a plain value and nothing are refused."""
    assert_type(await client.ask(write, Question(text="?")), Draft)
    await client.ask(write, Count(n=1))  # expect-error
    await client.ask(write, Draft(text="."))  # expect-error
    await client.ask(write, "?")  # expect-error
    await client.ask(write)  # expect-error
    await client.ask("writer.write", Question(text="?"))  # expect-error
    wrong: Count = await client.ask(write, Question(text="?"))  # expect-error
    print(wrong)


async def submits(client: Client) -> None:
    """A handle knows the reply's type."""
    task = await client.submit(write, Question(text="?"), idempotency_key="k", timeout_s=1.0)
    assert_type(task, TaskHandle[Draft])
    assert_type(await task.result(), Draft)
    assert_type(await task.cancel(), bool)
    assert_type(await client.submit(write, Question(text="?"), version="2"), TaskHandle[Draft])
    await client.submit(write, Question(text="?"), version=2)  # expect-error
    await client.submit(write, Count(n=1))  # expect-error
    await client.submit(write, Question(text="?"), idempotency_key=17)  # expect-error


async def streams(client: Client) -> None:
    """Events are a closed set, and the last one carries the reply."""
    async for event in client.stream(write, Question(text="?")):
        assert_type(event, Token | Progress | Restarted | Gap | Done[Draft])
        if isinstance(event, Done):
            assert_type(event.value, Draft)
    async for _ in client.stream(write, Count(n=1)):  # expect-error
        pass


async def publishes(client: Client) -> None:
    """Events are messages."""
    await client.publish("drafts.new", Draft(text="."))
    await client.publish("drafts.new", {"text": "."})  # expect-error


async def connects() -> None:
    """connect() gives a Client."""
    async with connect() as client:
        assert_type(client, Client)
    async with connect(tenant=1) as client:  # expect-error
        pass
