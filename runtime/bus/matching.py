"""Subjects and patterns: which are legal, and which match.

A pattern's ``*`` stands for exactly one token, its last ``>`` for one or more.
"""

from antiphon.runtime.errors import BusError

MAX_SUBJECT = 512  # characters; the server's control line ends at 4096, NATS advises < 256


def check_subject(subject: str) -> None:
    """Refuse what could not be sent, or would break out of its protocol line.

    Raises:
        BusError: empty, too long, with white space, or with a wildcard or an empty token.
    """
    # isprintable is False for line breaks and tabs; together with the blank this is the cheapest complete check.
    if not subject or len(subject) > MAX_SUBJECT or not subject.isprintable() or " " in subject:
        raise BusError(f"subject {subject[:80]!r}: expected 1 to {MAX_SUBJECT} characters without white space")


def check_pattern(pattern: str) -> None:
    """Refuse a subscription that a server would refuse.

    Raises:
        BusError: as ``check_subject``; also an empty token, ``>`` before the end, a wildcard inside a token.
    """
    check_subject(pattern)
    tokens = pattern.split(".")
    for place, token in enumerate(tokens):
        misplaced = token == ">" and place != len(tokens) - 1
        if not token or misplaced or (len(token) > 1 and ("*" in token or ">" in token)):
            raise BusError(f"subject {pattern!r}: token {token!r} is empty or a misplaced wildcard")


def is_pattern(subject: str) -> bool:
    """Whether any token is a wildcard."""
    return "*" in subject or ">" in subject


def matches(pattern: str, subject: str) -> bool:
    """Whether a message on ``subject`` reaches whoever listens on ``pattern``."""
    if pattern == subject:
        return True
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
    elif len(wanted) != len(given):
        return False
    return all(w in ("*", g) for w, g in zip(wanted, given, strict=False))


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    if not is_pattern(one) or not is_pattern(other):
        return matches(one, other) or matches(other, one)
    ours, theirs = one.split("."), other.split(".")
    for a, b in zip(ours, theirs, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(ours) == len(theirs)
