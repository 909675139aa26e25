"""Choose the flow by what a message is about."""

from collections.abc import Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast

from pydantic import create_model

from antiphon.runtime.agent import Handler
from antiphon.runtime.context import Context
from antiphon.runtime.errors import ConfigurationError, InvalidOutput, NoRoute
from antiphon.schemas.message import Message

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

NONE: Final = "none_of_these"  # what a model answers where there is a fallback


class Router(Generic[In, Out]):
    """Handlers by label. A rule, or a model with ``classify``, says the label; ``send`` passes the message on.

    ``fallback`` takes what has another label. Without it such a label is an error.

    Raises:
        ConfigurationError: no routes.
    """

    def __init__(self, routes: Mapping[str, Handler[In, Out]], *, fallback: Handler[In, Out] | None = None) -> None:
        if not routes:
            raise ConfigurationError("a router without routes: give it at least one handler by its label")
        self._routes = dict(routes)
        self._fallback = fallback
        labels = (*self._routes, *((NONE,) if fallback is not None else ()))
        self._label: type[Message] = create_model(
            "Label", __base__=Message, __module__=__name__, label=(cast(Any, Literal)[labels], ...)
        )
        lines = [f"- {label}: {_first_line(handler.description)}" for label, handler in self._routes.items()]
        if fallback is not None:
            lines.append(f"- {NONE}: anything else")
        self._instruction = "\n".join(("Say which label fits the message best.", *lines))

    async def classify(self, ctx: Context, text: str) -> str:
        """The label that the agent's model gives ``text``; its output is constrained to the labels there are.

        The model is shown each label with the first line of its handler's description. With a fallback it may say
        that none fits, and an answer that is no label counts as that.

        Raises:
            InvalidOutput: the answer is no label, and there is no fallback.
            ModelError: as ``ctx.model.generate``.
        """
        try:
            chosen: Any = await ctx.model.generate(self._label, text, system=self._instruction, max_tokens=64)
        except InvalidOutput as error:
            if self._fallback is None:
                raise
            ctx.log.warning("label_unreadable", error=error.message)
            return NONE
        label: str = chosen.label
        return label

    async def send(self, ctx: Context, label: str, message: In) -> Out:
        """Have the label's handler answer ``message``, durably.

        Raises:
            NoRoute: no handler has that label, and there is no fallback.
            AntiphonError: as ``ctx.call``.
        """
        handler = self._routes.get(label, self._fallback)
        if handler is None:
            raise NoRoute(
                f"no route for label {label!r} (there are: {', '.join(self._routes)}): "
                "add one to the router, or give it a fallback",
                label=label,
            )
        return await ctx.call(handler, message)


def _first_line(description: str) -> str:
    return description.partition("\n")[0] or "messages of this kind"
