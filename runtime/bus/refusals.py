"""The errors that both buses raise, worded once."""

from collections.abc import Iterable

from antiphon.runtime.errors import BusUnavailable, ConfigurationError, Conflict, MessageTooLarge, NoResponders


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
    return BusUnavailable(
        f"no stream takes {subject!r}; a running node makes a lost one again within seconds, ensure_streams at once",
        subject=subject,
    )


def overlapping(stream: str, subjects: Iterable[str]) -> ConfigurationError:
    """A stream whose subjects another one takes."""
    return ConfigurationError(
        f"stream {stream} cannot take {', '.join(subjects)}: subjects overlap with those of another stream; "
        "remove that one, or its subjects",
        stream=stream,
    )


def missing(stream: str) -> BusUnavailable:
    """A stream by a name that the server does not know."""
    return BusUnavailable(f"no stream {stream!r} on the server; create it with ensure_streams", stream=stream)


def full(stream: str, subject: str, size: int, used: int, limit: int) -> BusUnavailable:
    """A stream that refuses rather than forgets; sizes in bytes."""
    return BusUnavailable(
        f"stream {stream} is full: {used} of {limit} bytes used, no room for a message of {size} on {subject!r}; "
        f"finished work goes after the replay window (replay_window_s, result_ttl_s), or raise the limit: "
        f"nats stream edit {stream} --max-bytes",
        stream=stream,
        used=used,
        limit=limit,
    )


def no_space(stream: str, subject: str, used: int, why: str) -> BusUnavailable:
    """A server whose disk, or share of it, is used up."""
    return BusUnavailable(
        f"the server has no storage left for stream {stream} ({why}; the stream uses {used} bytes) and took no message "
        f"on {subject!r}; free disk space or raise max_file_store, then restart the server if it still refuses",
        stream=stream,
        used=used,
    )


def unconfirmed(subject: str, waited_s: float, answer: str = "") -> BusUnavailable:
    """An append without a word; ``answer`` is what the server says about the stream, if it says anything."""
    disk = (
        f"; the server answers otherwise ({answer}), so its disk is probably full: see its log, free space, restart it"
    )
    return BusUnavailable(
        f"append to {subject!r} was not confirmed within {waited_s:g} s; it may be stored: "
        f"repeat it with the same message id{disk if answer else ''}",
        subject=subject,
    )


def stopped(consumer: str) -> BusUnavailable:
    """A fetch after ``stop``."""
    return BusUnavailable(f"consumer {consumer!r} was stopped; bind again with consume")
