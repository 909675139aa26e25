"""A person's question about recorded runs: which pools, durations, calls and models would be different."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError, Unanswerable
from antiphon.runtime.whatif.ensemble import Ensemble
from antiphon.runtime.whatif.selection import Kind, Selection, known

MAX_FACTOR = 1_000.0
MAX_SLOTS = 1_000_000


class Verb(StrEnum):
    """What is done to the selected steps, in this order."""

    SWAP = "swap"  # another model answers
    SCALE = "scale"  # takes so many times as long
    DEDUPE = "dedupe"  # equal calls share one result
    REMOVE = "remove"  # not asked for; what followed it follows what was before
    DROP = "drop"  # nobody waits for it, and it is never begun
    PARALLELISE = "parallelise"  # declared steps run together
    HEDGE = "hedge"  # a second attempt where the first takes long


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One part of the question.

    ``number``: factor of scale, seconds of hedge and, where given, of dedupe (0: only of work under way), and at most
    so many steps at once of parallelise.
    """

    verb: Verb
    selection: Selection
    number: float | None = None
    model: str = ""  # of swap


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Changes, pools with another number of slots, and pools that serve whoever had least of them first."""

    changes: tuple[Change, ...] = ()
    pools: Mapping[str, int] = field(default_factory=dict)
    least_attained: tuple[str, ...] = ()

    def check(self, ensemble: Ensemble) -> None:
        """Whether the runs have what it asks about.

        Raises:
            Unanswerable: names what there is instead.
        """
        names = known(played.trace for played in ensemble.played)
        for change in self.changes:
            if not any(change.selection.steps(played.trace) for played in ensemble.played):
                kind = change.selection.kind
                raise Unanswerable(
                    f"none of {len(ensemble.played):,} runs used {change.selection}: {_there_are(kind, names[kind])}"
                )
        for pool in (*self.pools, *self.least_attained):
            pools_named(pool, ensemble)


def pools_named(name: str, ensemble: Ensemble) -> list[str]:
    """The pools that a person means: ``agent:critic@node``, on all nodes ``agent:critic``, or ``critic``.

    Raises:
        Unanswerable: there is none; names those there are.
    """
    pools = ensemble.hopeful[0].pools
    found = [pool for pool in pools if name in _spellings(pool)]
    if not found:
        raise Unanswerable(f"none of these runs waited for a pool {name!r}: {_there_are('pool', pools)}")
    return found


def parse(
    *,
    pool: Iterable[str] = (),
    scale: Iterable[str] = (),
    remove: Iterable[str] = (),
    drop: Iterable[str] = (),
    dedupe: Iterable[str] = (),
    swap: Iterable[str] = (),
    hedge: Iterable[str] = (),
    single_flight: Iterable[str] = (),
    parallelise: Iterable[str] = (),
    least_attained: Iterable[str] = (),
) -> Question:
    """From what was typed: ``agent:critic=8``, ``model:m=0.5``, ``tool:x``, ``tool:y=60s``, ``model:a=b``.

    Raises:
        ConfigurationError: with what was typed and what was expected; also where nothing was asked.
    """
    changes = [Change(verb=Verb.SWAP, selection=_model(key), model=value) for key, value in _pairs("swap", swap)]
    for key, value in _pairs("scale", scale):
        changes.append(Change(verb=Verb.SCALE, selection=Selection.parse(key), number=_factor(key, value)))
    for text in dedupe:
        key, _, value = text.partition("=")
        ttl_s = seconds(f"the age in --dedupe {text[:80]}", value) if value else None
        changes.append(Change(verb=Verb.DEDUPE, selection=Selection.parse(key), number=ttl_s))
    changes += [Change(verb=Verb.DEDUPE, selection=Selection.parse(text), number=0.0) for text in single_flight]
    changes += [Change(verb=Verb.REMOVE, selection=Selection.parse(text)) for text in remove]
    changes += [Change(verb=Verb.DROP, selection=Selection.parse(text)) for text in drop]
    for text in parallelise:
        key, _, value = text.partition("=")
        most = _most(key, value) if value else None
        changes.append(Change(verb=Verb.PARALLELISE, selection=_handlers(key), number=most))
    for key, value in _pairs("hedge", hedge):
        delay_s = seconds(f"the delay in --hedge {key}", value)
        changes.append(Change(verb=Verb.HEDGE, selection=Selection.parse(key), number=delay_s))
    pools = {key: _slots(key, value) for key, value in _pairs("pool", pool)}
    fair = tuple(least_attained)
    if not (changes or pools or fair):
        raise ConfigurationError(
            "nothing would be different: give --pool, --scale, --remove, --drop, --dedupe, --single-flight, --swap, "
            "--parallelise, --least-attained or --hedge"
        )
    return Question(changes=tuple(changes), pools=pools, least_attained=fair)


def _spellings(pool: str) -> tuple[str, ...]:
    everywhere = pool.partition("@")[0].replace("model ", "model:", 1)
    return pool, everywhere, everywhere.partition(":")[2]


def _there_are(kind: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return f"there are {', '.join(found[:12])}{more}" if found else f"there is no {kind} in them at all"


def _pairs(flag: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        key, equals, value = text.rpartition("=")
        if not (key and equals and value):
            raise ConfigurationError(f"--{flag} is {text[:80]!r}, expected NAME=VALUE")
        found.append((key, value))
    return found


def _model(text: str) -> Selection:
    selection = Selection.parse(text)
    if selection.kind is not Kind.MODEL:
        raise ConfigurationError(f"--swap is about {text!r}, expected model:NAME=OTHER")
    return selection


def _handlers(text: str) -> Selection:
    selection = Selection.parse(text)
    if selection.kind is not Kind.AGENT:
        raise ConfigurationError(f"--parallelise is about {text!r}, expected agent:NAME or agent:NAME.HANDLER")
    return selection


def _factor(key: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= MAX_FACTOR:
        raise ConfigurationError(f"--scale {key} is {value!r}, expected a factor from 0 to {MAX_FACTOR:g}")
    return found


def _most(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 2 <= int(value[:20]) <= MAX_SLOTS):
        raise ConfigurationError(f"--parallelise {key} is {value!r}, expected 2 or more steps at once")
    return int(value)


def _slots(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:20]) <= MAX_SLOTS):
        raise ConfigurationError(f"--pool {key} is {value!r}, expected a whole number of slots from 1 to {MAX_SLOTS:,}")
    return int(value)
