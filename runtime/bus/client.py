"""nats-py's client with a direct path for messages and some of its traps taken out.

Overridden methods, and why (nats-py 2.16.0):

- ``_ps`` and ``_process_msg``: a message for one of our subscriptions goes straight to its sink. The stock path parses
  the headers character by character, builds a ``Msg``, queues it and wakes a task.
- ``_process_pong``: a ``flush`` that was cancelled leaves a cancelled future behind; the stock method then raises
  inside the read loop, which ends it.
- ``_process_err``: the stock method closes the client for ever on any protocol error; ours reconnects.

If a later nats-py renames a method, the override is never called and the stock behaviour is back: every subscription
also has a plain callback, and ``direct`` tells whether ``send`` may be used.
"""

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from antiphon.runtime.bus.beside import beside
from antiphon.runtime.bus.parser import QuickParser, Sink


class Client(NatsClient):
    """A ``nats.aio.client.Client`` for ``runtime/bus/connection.py`` only."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}
        self._ps = QuickParser(self, self._sinks)

    @property
    def direct(self) -> bool:
        """Whether the buffers that ``send`` uses are the ones this nats-py has."""
        return (
            isinstance(getattr(self, "_pending", None), list)
            and isinstance(getattr(self, "_pending_data_size", None), int)
            and isinstance(getattr(self, "_flush_queue", None), asyncio.Queue)
        )

    async def attach(
        self, subject: str, queue: str, sink: Sink, plain: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Subscribe; messages go to ``sink``, or to ``plain`` where the direct path does not work."""
        subscription = await self.subscribe(subject, queue=queue, cb=plain)
        self._sinks[subscription._id] = sink
        return subscription

    async def detach(self, subscription: Subscription, timeout_s: float) -> None:
        """Unsubscribe. What the server had sent before it knew still reaches the sink."""
        try:
            if self.is_connected and not self.is_draining:
                await beside(subscription.drain(), timeout_s)  # type: ignore[no-untyped-call]  # nats-py leaves it bare
        except (nats.errors.Error, TimeoutError, OSError):
            pass  # the server forgets us with the connection; the lines below forget it here
        finally:
            self._sinks.pop(subscription._id, None)
            self._subs.pop(subscription._id, None)
            subscription._stop_processing()

    def send(self, frame: bytes) -> None:
        """Append a frame to what goes out with the next turn of the flusher.

        ``publish`` checks subjects by regular expression, formats in three steps and awaits three coroutines.
        """
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        queue = self._flush_queue
        if queue is not None and queue.empty() and self._status == self.CONNECTED:
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        sink = self._sinks.get(sid)
        if sink is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        sink(subject.decode(), reply.decode(), data, headers)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {err_msg.strip(chr(39))}")
        await self._error_cb(error)
        await self._process_op_err(error)
