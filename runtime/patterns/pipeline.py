"""Stages in a row: what one returns is what the next is given."""

from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

from antiphon.runtime.agent import Handler
from antiphon.runtime.context import Context
from antiphon.schemas.message import Message

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)
Next = TypeVar("Next", bound=Message)


class Pipeline(Generic[In, Out]):
    """Handlers that follow one another, each a durable call. A value: ``then`` makes a longer one.

    A run that is tried again after a crash begins with the stage that had not ended.
    """

    __slots__ = ("stages",)

    def __init__(self, *stages: Handler[Any, Any]) -> None:
        self.stages = stages

    def __repr__(self) -> str:
        return f"Pipeline({' -> '.join(str(stage.address) for stage in self.stages)})"

    def then(self, stage: Handler[Out, Next]) -> "Pipeline[In, Next]":
        """One stage more; it takes what this pipeline returns."""
        return Pipeline(*self.stages, stage)

    async def run(self, ctx: Context, message: In) -> Out:
        """The last stage's reply. Raises what ``ctx.call`` of a stage raises; later stages do not begin."""
        value: Any = message
        for stage in self.stages:
            value = await ctx.call(stage, value)
        result: Out = value
        return result


def pipeline(first: Handler[In, Out]) -> Pipeline[In, Out]:
    """``pipeline(extract).then(translate).then(publish)``: typed from end to end."""
    return Pipeline(first)


def start(ctx: Context, work: Handler[In, Out] | Pipeline[In, Out], message: In) -> Awaitable[Out]:
    """One durable run of a handler or of a pipeline."""
    return work.run(ctx, message) if isinstance(work, Pipeline) else ctx.call(work, message)
