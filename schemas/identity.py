"""Names and ids: who is addressed, and which task, run or node is meant."""

import hashlib
import re
import secrets
from dataclasses import dataclass

NAME = re.compile(r"[a-z0-9_-]{1,64}")
TOPIC = re.compile(r"[a-z0-9_-]{1,64}(\.[a-z0-9_-]{1,64}){0,7}")
TASK = re.compile(r"[A-Za-z0-9_:-]{1,128}")


class InvalidName(ValueError):
    """A name that cannot be a subject token."""


def check_name(kind: str, name: str) -> str:
    """``name`` itself, if it may be an agent, handler, model, tenant or node name.

    Raises:
        InvalidName: anything else; the message says what was found and what is expected.
    """
    if NAME.fullmatch(name) is None:
        raise InvalidName(f"{kind} name {name!r}: expected 1 to 64 characters of a-z, 0-9, _ and -")
    return name


def check_topic(topic: str) -> str:
    """``topic`` itself, if it is dot-separated names (8 at most).

    Raises:
        InvalidName: anything else.
    """
    if TOPIC.fullmatch(topic) is None:
        raise InvalidName(f"topic {topic!r}: expected dot-separated names of a-z, 0-9, _ and - (8 at most)")
    return topic


def check_task(task: str) -> str:
    """``task`` itself, if it may be a task id.

    Raises:
        InvalidName: anything else.
    """
    if TASK.fullmatch(task) is None:
        raise InvalidName(f"task id {task!r}: expected 1 to 128 characters of A-Z, a-z, 0-9, _, : and -")
    return task


@dataclass(frozen=True, slots=True)
class Address:
    """An agent's handler, written ``agent.handler``."""

    agent: str
    handler: str

    def __post_init__(self) -> None:
        check_name("agent", self.agent)
        check_name("handler", self.handler)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``"writer.write"`` as an address.

        Raises:
            InvalidName: there is no dot, or a part is not a name.
        """
        agent, dot, handler = text.partition(".")
        if not dot:
            raise InvalidName(f"address {text!r}: expected agent.handler, such as writer.write")
        return cls(agent, handler)

    def __str__(self) -> str:
        return f"{self.agent}.{self.handler}"


def new_id() -> str:
    """A random id of 128 bits, 32 hexadecimal digits: tasks, runs, messages, nodes."""
    return secrets.token_hex(16)


def derived_id(*parts: str) -> str:
    """The same 32 hexadecimal digits for the same parts: children of a task, idempotency keys.

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.hexdigest()[:32]
