"""The errors that both buses raise, worded once."""

from antiphon.runtime.errors import BusUnavailable, Conflict, MessageTooLarge, NoResponders


def closed() -> BusUnavailable:
    """Anything on a bus after ``close``."""
    return BusUnavailable("the bus was closed")


def no_responders(subject: str) -> NoResponders:
    """A request that nobody listens for."""
    return NoResponders(f"nobody listens on {subject!r}; start the agent or node that serves it", subject=subject)


def too_large(subject: str, size: int, limit: int) -> MessageTooLarge:
    """A message over the payload limit, in bytes."""
    return MessageTooLarge(
        f"message on {subject!r} has {size} bytes with headers, the bus carries {limit}; "
        "send the body as a blob and its digest in the message",
        size=size,
        limit=limit,
    )


def conflict(subject: str, expected: int, last: int | None) -> Conflict:
    """A fenced append; ``last`` where the server says it."""
    said = "something newer" if last is None else f"sequence {last}"
    details = {} if last is None else {"last": last}
    return Conflict(
        f"append to {subject!r} expected last sequence {expected} but found {said}; read on and decide again", **details
    )


def key_conflict(bucket: str, key: str, expected: int, found: int) -> Conflict:
    """A compare-and-set; 0 stands for a key that is not there."""
    return Conflict(
        f"key {key!r} of bucket {bucket!r} is at revision {found}, expected {expected}; read it and decide again",
        last=found,
    )


def no_stream(subject: str) -> BusUnavailable:
    """An append that nothing stores."""
    return BusUnavailable(f"no stream takes {subject!r}; create it with ensure_streams", subject=subject)


def full(stream: str, subject: str, why: str) -> BusUnavailable:
    """A stream that refuses rather than forgets."""
    return BusUnavailable(
        f"stream {stream} is full and took no message on {subject!r} ({why}); purge finished work or raise its limit",
        stream=stream,
    )


def stopped(consumer: str) -> BusUnavailable:
    """A fetch after ``stop``."""
    return BusUnavailable(f"consumer {consumer!r} was stopped; bind again with consume")
