"""The seam between agents and whatever answers them."""

from collections.abc import AsyncGenerator
from typing import Protocol

from antiphon.schemas.inference import Capabilities, Chunk, Embeddings, EmbedRequest, GenerateRequest, ModelMetrics


class ModelInstance(Protocol):
    """A loaded or remote model. Every adapter for language models passes the contract suite in ``tests/contract``.

    Rules: ``generate`` yields chunks as they come and ends with exactly one Finish. Closing the generator or
    cancelling the task that reads it stops generation within one token and frees everything. A request whose
    deadline passes ends with Finish(CANCELLED) carrying what was used. Errors are ModelErrors raised from the
    generator, before or between chunks, never a silent end.
    """

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Chunks of the reply.

        Raises:
            ContextTooLong: the prompt does not fit, with both numbers.
            InvalidRequest: tools or a schema this instance cannot take.
            ModelUnavailable: not reachable or overloaded; retryable.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector a text.

        Raises:
            InvalidRequest: the instance does not embed.
            DeadlineExceeded: the deadline passed first.
            ModelError: as ``generate``.
        """
        ...

    async def capabilities(self) -> Capabilities:
        """What the instance can do; None in a field means it cannot say."""
        ...

    async def metrics(self) -> ModelMetrics:
        """How the instance does; what it cannot say is None. Raises ModelUnavailable. Loads nothing."""
        ...

    async def close(self) -> None:
        """Free what it holds. Requests under way fail with ModelUnavailable. Idempotent."""
        ...
