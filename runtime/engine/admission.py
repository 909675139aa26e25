"""What the engine takes in: requests that fit the model and the pool, and as many as its line is long."""

from collections.abc import Callable

from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.tenancy import Tenant
from antiphon.runtime.errors import ContextTooLong, InvalidRequest, ModelBusy


class Admission:
    """Checks at the door."""

    def __init__(self, config: EngineConfig, *, pages: int, context_tokens: int) -> None:
        self._most_waiting = config.max_waiting
        self._most_requests = config.max_waiting + config.max_rows
        self._sold = any(policy.units for policy in config.tenants.values())
        self._pool_tokens = pages * PAGE_TOKENS
        self._context_tokens = context_tokens
        self._queue_s = 1.0
        self._between_s = 0.0  # from one first row to the next, while there is a line
        self._last_s = 0.0

    def limit(self, request: Request) -> int:
        """The tokens that prompt and output have at most.

        Raises:
            InvalidRequest: an empty prompt.
            ContextTooLong: no room for one token in context or page pool, or more in all than the pool holds and
                sampling does not say ``clip``.
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
        if limit > self._pool_tokens > prompt and request.sampling.clip:
            return self._pool_tokens
        if limit > self._pool_tokens:
            raise ContextTooLong(
                f"found {prompt} prompt tokens and up to {limit - prompt} of output, expected at most the "
                f"{self._pool_tokens} in all that the page pool holds; lower max_tokens or raise cache_tokens",
                prompt_tokens=prompt,
                output_tokens=limit - prompt,
                pool_tokens=self._pool_tokens,
            )
        return limit

    def check_line(self, request: Request, waiting: int, tenant: Tenant, tenants: int, now_s: float) -> None:
        """A flood shuts nobody out: batch work finds a quarter of the line taken, and so does a tenant that has more
        than its part, were one more there than the ``tenants`` with requests. Where units are sold a quarter is for
        tenants inside theirs.

        Raises:
            ModelBusy: the line is full; details have ``retry_after_s``, how long requests have waited of late.
        """
        most = self._most_waiting
        if self._sold and not tenant.guaranteed(now_s):
            most -= most // 4
        if request.batch or tenant.requests * (tenants + 1) > self._most_requests:
            most -= most // 4
        if waiting >= most:
            raise ModelBusy(
                f"found {waiting} requests waiting, expected fewer than {most}; try again in {self._queue_s:.1f} s",
                waiting=waiting,
                retry_after_s=f"{self._queue_s:.1f}",
            )

    def check_deadline(self, left_s: float, waiting: int, ahead: Callable[[], int]) -> None:
        """Whether a request's turn comes within ``left_s``, as fast as turns come of late; ``ahead`` counts who of
        those ``waiting`` goes first, and is asked only if it matters.

        Raises:
            ModelBusy: it would wait in vain; details have ``retry_after_s``, when the line is short enough.
        """
        if left_s <= 0 or waiting * self._between_s <= left_s:
            return
        wait_s = ahead() * self._between_s
        if wait_s > left_s:
            raise ModelBusy(
                f"found a wait of {wait_s:.1f} s, expected at most the {left_s:.1f} s to the deadline; "
                f"try again in {wait_s - left_s:.1f} s, or allow more time",
                retry_after_s=f"{wait_s - left_s:.1f}",
            )

    def waited(self, queue_s: float, now_s: float) -> None:
        """A request waited that long for its first row, which it has now."""
        self._between_s += (min(queue_s, now_s - self._last_s) - self._between_s) / 8
        self._last_s = now_s
        self._queue_s = max(0.1, self._queue_s + (queue_s - self._queue_s) / 8)
