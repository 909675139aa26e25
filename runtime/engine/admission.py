"""What the engine takes in: requests that fit the model and the pool, and as many as its line is long."""

from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.tenancy import Tenant
from antiphon.runtime.errors import ContextTooLong, InvalidRequest, ModelBusy


class Admission:
    """Checks at the door."""

    def __init__(self, config: EngineConfig, *, pages: int, context_tokens: int) -> None:
        self._most_waiting = config.max_waiting
        self._sold = any(policy.units for policy in config.tenants.values())
        self._pool_tokens = pages * PAGE_TOKENS
        self._context_tokens = context_tokens
        self._queue_s = 1.0

    def limit(self, request: Request) -> int:
        """The tokens that prompt and output have at most.

        Raises:
            InvalidRequest: an empty prompt.
            ContextTooLong: no room for one token in the context, or more in all than the page pool holds.
        """
        prompt = len(request.prompt)
        if not prompt:
            raise InvalidRequest("found an empty prompt, expected one token or more")
        if prompt >= self._context_tokens:
            raise ContextTooLong(
                f"found a prompt of {prompt} tokens, expected fewer than this model's {self._context_tokens}; "
                "shorten the conversation",
                prompt_tokens=prompt,
                context_tokens=self._context_tokens,
            )
        limit = min(prompt + request.sampling.max_tokens, self._context_tokens)
        if limit > self._pool_tokens:
            raise ContextTooLong(
                f"found {prompt} prompt tokens and up to {limit - prompt} of output, expected at most the "
                f"{self._pool_tokens} in all that the page pool holds; lower max_tokens or raise cache_tokens",
                prompt_tokens=prompt,
                output_tokens=limit - prompt,
                pool_tokens=self._pool_tokens,
            )
        return limit

    def check_line(self, waiting: int, tenant: Tenant, now_s: float) -> None:
        """Where units are sold, a quarter of the line is for tenants inside theirs: a flood cannot shut them out.

        Raises:
            ModelBusy: the line is full; details have ``retry_after_s``, how long requests have waited of late.
        """
        most = self._most_waiting
        if self._sold and not tenant.guaranteed(now_s):
            most -= most // 4
        if waiting >= most:
            raise ModelBusy(
                f"found {waiting} requests waiting, expected fewer than {most}; try again in {self._queue_s:.1f} s",
                waiting=waiting,
                retry_after_s=f"{self._queue_s:.1f}",
            )

    def waited(self, queue_s: float) -> None:
        """A request waited that long for its first row."""
        self._queue_s = max(0.1, self._queue_s + (queue_s - self._queue_s) / 8)
