"""Names and ids: who is addressed, and which task, run or node is meant."""

import hashlib
import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random, SystemRandom

NAME = re.compile(r"[a-z0-9_-]{1,64}")
TOPIC = re.compile(r"[a-z0-9_-]{1,64}(\.[a-z0-9_-]{1,64}){0,7}")
TASK = re.compile(r"[A-Za-z0-9_:-]{1,128}")
CODE_VERSION = re.compile(r"(?=.{1,30}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

_RANDOM: ContextVar[Random] = ContextVar("antiphon_random", default=SystemRandom())  # noqa: B039  # it has no state


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


def check_version(version: str) -> str:
    """``version`` itself, if it may be the version of an agent's code.

    Raises:
        InvalidName: anything else.
    """
    if CODE_VERSION.fullmatch(version) is None:
        raise InvalidName(f"version {version!r}: expected 1 to 30 of A-Z, a-z, 0-9, - and _, with dots between")
    return version


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
    """A random id of 128 bits, 32 hexadecimal digits: tasks, runs, messages, nodes. Nobody can guess it."""
    return f"{_RANDOM.get().getrandbits(128):032x}"


def seed_ids(seed: str) -> None:
    """From now on in this context, and in those copied from it, ids follow from ``seed``: for tests that repeat."""
    _RANDOM.set(Random(seed))


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
