"""How often somebody may try a password. Pure: the time is passed in."""

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

ADDRESSES: Final = 1_024  # remembered; what is forgotten begins anew, within what all have together


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """So many at once, and then one more each ``every_s``."""

    at_once: int
    every_s: float


EACH: Final = Allowance(at_once=5, every_s=60.0)  # of one address: 1,440 guesses a day
ALL: Final = Allowance(at_once=20, every_s=1.0)  # whatever number of addresses somebody has: 86,400


class _Bucket:
    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._left = 0.0
        self._at_s = -math.inf  # full by now

    def wait_s(self, now_s: float) -> float:
        """Seconds until there is one to take."""
        more = (now_s - self._at_s) / self._allowance.every_s
        self._left, self._at_s = min(self._allowance.at_once, self._left + more), now_s
        return max(0.0, (1.0 - self._left) * self._allowance.every_s)

    def give(self, count: int) -> None:
        """Take away one (-1) or give it back."""
        self._left += count


class Attempts:
    """Attempts of each address and of all together. One that succeeds is given back, so only guessing is slowed."""

    def __init__(self, each: Allowance = EACH, all: Allowance = ALL) -> None:
        self._each = each
        self._all = _Bucket(all)
        self._of: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str, now_s: float) -> float:
        """Count an attempt: 0.0, and it may be made; or the seconds to wait, and nothing was counted."""
        place = place_of(address)
        of = self._of.setdefault(place, _Bucket(self._each))
        self._of.move_to_end(place)
        if len(self._of) > ADDRESSES:
            self._of.popitem(last=False)
        wait_s = max(of.wait_s(now_s), self._all.wait_s(now_s))
        if wait_s == 0.0:
            of.give(-1)
            self._all.give(-1)
        return wait_s

    def succeeded(self, address: str) -> None:
        """Give the attempt back."""
        for bucket in (self._of.get(place_of(address)), self._all):
            if bucket is not None:
                bucket.give(1)


def place_of(address: str) -> str:
    """Who is counted as one: an address, or in IPv6 the network of 64 bits that one household or server is given."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
