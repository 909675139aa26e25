"""Names of buckets and keys."""

import re

from antiphon.runtime.errors import BusError

_KEY = re.compile(r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*")
_BUCKET = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_key(key: str) -> None:
    """Raises BusError for a key that a NATS bucket would not take."""
    if not _KEY.fullmatch(key):
        raise BusError(f"key {key!r}: expected letters, digits, _ - = / and single dots between tokens")


def check_bucket(name: str) -> None:
    """Raises BusError for a bucket name that NATS would not take."""
    if not _BUCKET.fullmatch(name):
        raise BusError(f"bucket {name!r}: expected 1 to 64 letters, digits, _ or -")
