"""The base of everything agents say to one another."""

import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Value(BaseModel):
    """A frozen record inside messages and headers. Unknown fields are an error, so typing mistakes surface."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Value):
    """A typed payload. Its wire identity is (name, version); the name defaults to the class name.

    ``class Question(Message, version=2)`` says that the shape changed in a way old readers must not accept;
    ``name=`` keeps the wire name when the class is renamed.
    """

    message_name: ClassVar[str] = "Message"
    message_version: ClassVar[int] = 1

    def __init_subclass__(cls, *, name: str | None = None, version: int = 1, **kwargs: Any) -> None:
        """Give the subclass its wire identity.

        Raises:
            TypeError: the name has characters a header cannot carry, or the version is below 1.
        """
        super().__init_subclass__(**kwargs)
        wire = name if name is not None else re.sub(r"\W+", "_", cls.__name__)[:64]
        if NAME.fullmatch(wire) is None:
            raise TypeError(f"message name {wire!r}: expected letters, digits and _, no digit first (64 at most)")
        if version < 1:
            raise TypeError(f"message {wire!r}: version is {version}, expected 1 or more")
        cls.message_name = wire
        cls.message_version = version
