"""Which of several servers a key belongs to, while none of them has much more than its share: a pure function."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import ceil


def ranked(key: str, servers: Iterable[str]) -> list[str]:
    """The servers in the order in which they suit the key.

    Highest random weight (Thaler and Ravishankar, 1998): when a server goes, only its own keys move, each to its second
    choice; when one comes, only keys that suit it best move there.
    """
    return sorted(servers, key=lambda server: blake2b(f"{key}\0{server}".encode(), digest_size=8).digest())


def placed(key: str, load: Mapping[str, int], imbalance: float) -> list[str]:
    """The servers in ``load`` (requests under way at each) for one more request: the best with room, then the others.

    There is room below ``imbalance`` (1 or more) times the mean, this request included and rounded up, as consistent
    hashing with bounded loads has it (Mirrokni, Thorup and Zadimoghaddam, SODA'18): some server always has.
    """
    most = ceil(imbalance * (sum(load.values()) + 1) / len(load))
    return sorted(ranked(key, load), key=lambda server: load[server] >= most)
