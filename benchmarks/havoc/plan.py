"""What is killed, and when: a pure function of a seed."""

import random
from dataclasses import dataclass
from enum import StrEnum

FIRST_S = 2.0  # the nodes have work by then
GAP_S = (3.0, 6.0)  # between two blows; a node is back after one second, or three where others use the machine too


class Victim(StrEnum):
    """Whom a blow hits."""

    NODE = "node"  # SIGKILL, started again at once
    BROKER = "broker"  # SIGKILL of the only server, started again at once
    LEADER = "leader"  # SIGKILL of the server that leads the stream of tasks, started again some seconds later


@dataclass(frozen=True, slots=True)
class Blow:
    """One kill. ``at_s`` counts from the first submit; ``index`` is the node's, 0 for servers."""

    at_s: float
    victim: Victim
    index: int = 0


def plan(seed: int, *, kills: int, nodes: int, servers: tuple[Victim, ...]) -> tuple[Blow, ...]:
    """``kills`` blows at random nodes at random times, with those at ``servers`` spread evenly among them."""
    rng = random.Random(seed)
    blows: list[Blow] = []
    at_s = FIRST_S
    turns = {(index + 1) * (kills + len(servers)) // (len(servers) + 1): who for index, who in enumerate(servers)}
    for turn in range(kills + len(servers)):
        victim = turns.get(turn, Victim.NODE)
        blows.append(Blow(round(at_s, 3), victim, rng.randrange(nodes) if victim is Victim.NODE else 0))
        at_s += rng.uniform(*GAP_S)
    return tuple(blows)
