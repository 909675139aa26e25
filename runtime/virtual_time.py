"""Time that a test makes: an event loop that never waits, and clocks that follow it.

Under ``VirtualLoop`` a minute of timeouts takes milliseconds, and what happens depends on the program and the seed
alone. The idea is trio's autojump clock, and FoundationDB's simulation (Zhou et al., SIGMOD'21).
"""

import asyncio
import gc
import heapq
import random
import threading
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from contextvars import Context, copy_context
from functools import wraps
from types import FrameType
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, TypeVarTuple

from antiphon.runtime.errors import ConfigurationError, Stalled
from antiphon.schemas.identity import seed_ids

EPOCH_UNIX_S: Final = 1_767_225_600  # 2026-01-01T00:00:00Z, when every virtual loop begins
LIMIT_S: Final = 86_400.0
TURNS: Final = 100_000  # of the loop without a step forward in time: a program that spins
UNWIND_S: Final = 3600.0  # what a program that was stopped for one of these has to end its tasks
SHOWN: Final = 20  # waiting tasks that an error names

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Timer = tuple[float, int, int, asyncio.TimerHandle]  # when, number, the callback that set it, handle


def _refuse(what: str, instead: str) -> Any:
    def refused(self: "VirtualLoop", *args: object, **kwargs: object) -> NoReturn:
        raise ConfigurationError(
            f"{what}: a loop with virtual time has nothing outside it; expected {instead}, or run this test on an "
            "ordinary event loop"
        )

    return refused


class _Task(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks, asyncio's own among them, have the same order in every run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> None:
        self._number = number  # first: the base class puts the task into a set
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(BaseEventLoop):
    """An event loop whose ``time()`` starts at 0 and jumps to the next timer when nothing is ready.

    With ``shuffle``, callbacks that are ready in the same turn of the loop run in an order drawn from ``seed``. What
    asyncio promises holds: each runs once; one that is registered in a turn runs in a later one; and what one callback
    registers (tasks it starts, waiters it wakes, done callbacks, itself after ``sleep(0)``) runs in the order in which
    it registered it. Only the order between the consequences of *different* callbacks is open, as it is where they come
    from sockets.

    ``run_in_executor`` and ``to_thread`` call the function on the loop's own thread, a turn later. Sockets, pipes,
    child processes and signals are refused with ConfigurationError, and so are calls from other threads.

    Raises (out of ``run_until_complete``):
        Stalled: nothing is ready, no timer is set and the program is not done; or it is not done after ``limit_s``
            virtual seconds, or spins without letting time pass.
    """

    def __init__(self, *, seed: int = 0, shuffle: bool = True, limit_s: float = LIMIT_S) -> None:
        super().__init__()
        self.seed = seed
        self.clock = VirtualClock(self)
        self._order = random.Random(seed) if shuffle else None
        self._limit_s = limit_s
        self._now = 0.0
        self._turns = 0
        self._count = 0  # of tasks, timers and callbacks: numbers for all of them
        self._running = 0  # the number of the callback that runs
        self._arrived: list[asyncio.Handle] = []
        self._origins: list[int] = []  # of each that has arrived: the callback that registered it
        self._timers: list[_Timer] = []
        self._cancelled_timers = 0
        self._own_thread = 0
        self._stranger: str | None = None  # a thread that called in
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._arrived.append(handle)
        self._origins.append(self._running)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As ``call_soon``. Raises ConfigurationError on another thread: when it calls depends on the real clock."""
        if self.is_running() and threading.get_ident() != self._own_thread:
            self._stranger = threading.current_thread().name
            raise ConfigurationError(
                f"thread {self._stranger!r} called into a loop with virtual time; expected asyncio.to_thread, which "
                "runs inline there, or run this test on an ordinary event loop"
            )
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio; timers of the same moment and origin go off in the order in which they were set."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._number(), self._running, timer))
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Call ``func`` on this thread in a later turn, unless the future is cancelled before."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_call, future, func, args)
        return future

    def run_forever(self) -> None:
        """As in asyncio."""
        self._own_thread = threading.get_ident()
        super().run_forever()

    def close(self) -> None:
        """As in asyncio."""
        super().close()
        self._arrived.clear()
        self._origins.clear()
        self._timers.clear()

    create_connection = _refuse("create_connection", "memory_system")
    create_server = _refuse("create_server", "memory_system")
    create_datagram_endpoint = _refuse("create_datagram_endpoint", "memory_system")
    create_unix_connection = _refuse("create_unix_connection", "memory_system")
    create_unix_server = _refuse("create_unix_server", "memory_system")
    connect_accepted_socket = _refuse("connect_accepted_socket", "memory_system")
    getaddrinfo = _refuse("getaddrinfo", "memory_system")
    getnameinfo = _refuse("getnameinfo", "memory_system")
    add_reader = _refuse("add_reader", "memory_system")
    add_writer = _refuse("add_writer", "memory_system")
    sock_accept = _refuse("sock_accept", "memory_system")
    sock_connect = _refuse("sock_connect", "memory_system")
    sock_recv = _refuse("sock_recv", "memory_system")
    sock_recv_into = _refuse("sock_recv_into", "memory_system")
    sock_sendall = _refuse("sock_sendall", "memory_system")
    sock_sendfile = _refuse("sock_sendfile", "memory_system")
    connect_read_pipe = _refuse("connect_read_pipe", "a double")
    connect_write_pipe = _refuse("connect_write_pipe", "a double")
    subprocess_exec = _refuse("subprocess_exec", "a double")
    subprocess_shell = _refuse("subprocess_shell", "a double")
    add_signal_handler = _refuse("add_signal_handler", "cancellation")

    # asyncio's own hooks: ``run_forever`` calls the first until it is stopped, a timer calls the second

    def _run_once(self) -> None:
        if self._arrived:
            self._turns += 1
            if self._turns > TURNS:
                raise self._stalled(f"spins: {TURNS} turns of the loop at {self._now:g} s")
        else:
            self._jump()
        if self._timers and self._timers[0][0] <= self._now:
            self._take_due()
        for handle in self._draw():
            if not handle.cancelled():
                self._running = self._number()
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if not timer[3].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _jump(self) -> None:
        while self._timers and self._timers[0][3].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise self._stalled("is deadlocked: nothing is ready and no timer is set")
        when = self._timers[0][0]
        if when > self._limit_s:
            raise self._stalled(f"is not done after {self._limit_s:g} virtual seconds")
        if when > self._now:
            self._now = when
            self._turns = 0

    def _take_due(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            _, _, origin, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._arrived.append(timer)
                self._origins.append(origin)

    def _draw(self) -> Sequence[asyncio.Handle]:
        """The callbacks of this turn in a random order that keeps the order within each origin.

        Every such order is equally likely: a shuffle of the origins' names, each then replaced by its next callback.
        """
        arrived, origins = self._arrived, self._origins
        self._arrived, self._origins = [], []
        if self._order is None or len(arrived) < 2:
            return arrived
        queues: dict[int, list[asyncio.Handle]] = {}
        for handle, origin in zip(reversed(arrived), reversed(origins), strict=True):
            queues.setdefault(origin, []).append(handle)
        if len(queues) == 1:
            return arrived
        self._order.shuffle(origins)
        return [queues[origin].pop() for origin in origins]

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> _Task:
        number = self._number()
        return _Task(number, coro, **{"loop": self, "name": f"task-{number}", **kwargs})

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _stalled(self, why: str) -> Stalled:
        waiting = sorted(asyncio.all_tasks(self), key=hash)
        lines = [f"  {task.get_name()}: {_where(task)}" for task in waiting[:SHOWN]]
        if len(waiting) > SHOWN:
            lines.append(f"  and {len(waiting) - SHOWN} more")
        if self._stranger is not None:
            lines.append(f"  thread {self._stranger!r} was refused: virtual time has no threads")
        self._turns, self._limit_s = 0, self._now + UNWIND_S
        return Stalled("\n".join([f"the program {why} (seed {self.seed}); these tasks wait:", *lines]))


class VirtualClock:
    """A ``Clock`` on a virtual loop: unix time is EPOCH_UNIX_S plus the loop's time plus ``skew_s``.

    Give the nodes of one loop different ``skew_s`` to see what machines with wrong clocks do. Without ``loop`` it is
    the running one.
    """

    def __init__(self, loop: VirtualLoop | None = None, *, skew_s: float = 0.0) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._epoch_ns = EPOCH_UNIX_S * 1_000_000_000 + round(skew_s * 1e9)

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch, skewed."""
        return self._epoch_ns + round(self._loop.time() * 1e9)

    def monotonic_s(self) -> float:
        """The loop's seconds, which no skew touches."""
        return self._loop.time()


class ManualClock:
    """A ``Clock`` that stands still until told: for logic that takes the time and does not wait."""

    def __init__(self, *, unix_s: float = EPOCH_UNIX_S) -> None:
        self._epoch_ns = round(unix_s * 1e9)
        self._elapsed_s = 0.0

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._epoch_ns + round(self._elapsed_s * 1e9)

    def monotonic_s(self) -> float:
        """How far it was moved."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._elapsed_s += seconds


def run_virtual(main: Coroutine[Any, Any, T], *, seed: int = 0, shuffle: bool = True, limit_s: float = LIMIT_S) -> T:
    """``asyncio.run`` on a ``VirtualLoop``.

    The garbage collector is off meanwhile: when it runs depends on everything that ran before, and what it finalises
    (an abandoned async generator) takes turns of the loop.

    Raises:
        Stalled: see ``VirtualLoop``.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed, shuffle=shuffle, limit_s=limit_s)) as runner:
            context = copy_context()
            context.run(seed_ids, str(seed))
            return runner.run(main, context=context)
    finally:
        if collecting:
            gc.enable()


def virtual_time(
    *, seeds: Iterable[int] = (0,), shuffle: bool = True, limit_s: float = LIMIT_S
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """``@virtual_time(seeds=range(50))`` makes an async test an ordinary one that runs once for each seed.

    A failure carries a note with its seed: put that into ``seeds`` to see it again.
    """
    drawn = tuple(seeds)

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            for seed in drawn:
                try:
                    run_virtual(test(*args, **kwargs), seed=seed, shuffle=shuffle, limit_s=limit_s)
                except BaseException as error:
                    error.add_note(f"under virtual time with seed {seed}: seeds=({seed},) repeats it")
                    raise

        return run

    return decorate


def _call(future: "asyncio.Future[T]", func: Callable[[*Ts], T], args: tuple[*Ts]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def _where(task: "asyncio.Task[Any]") -> str:
    """The coroutine of the task, and the line at which the innermost one waits."""
    outer: Any = task.get_coro()
    inner, frame = outer, None
    while inner is not None:
        found = _attribute(inner, "frame")
        if isinstance(found, FrameType):
            frame = found
        inner = _attribute(inner, "await") or _attribute(inner, "yieldfrom")
    name = getattr(outer, "__qualname__", repr(outer))
    return name if frame is None else f"{name} at {frame.f_code.co_filename}:{frame.f_lineno}"


def _attribute(awaited: Any, name: str) -> Any:
    """Of a coroutine, a generator or an async generator, whose attributes differ by their prefix."""
    return next((found for kind in ("cr", "gi", "ag") if (found := getattr(awaited, f"{kind}_{name}", None))), None)
