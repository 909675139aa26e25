"""Which server a key belongs to."""

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.policies.rendezvous import placed, ranked

servers = st.lists(st.text("abcdef0123", min_size=1, max_size=4), min_size=1, max_size=9, unique=True)


@given(servers, st.lists(st.text("xyz", max_size=2), max_size=60), st.floats(1.0, 8.0), st.data())
def test_no_server_has_much_more_than_its_share(
    names: list[str], keys: list[str], imbalance: float, data: st.DataObject
) -> None:
    """However requests come and go, one that is added never takes its server above the bound."""
    load = Counter(dict.fromkeys(names, 0))
    under_way: list[str] = []
    for key in keys:
        one_ends = data.draw(st.booleans())
        if under_way and one_ends:
            load[under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))] -= 1
        server = placed(key, load, imbalance)[0]
        load[server] += 1
        under_way.append(server)
        assert load[server] <= ceil(imbalance * load.total() / len(names))


@given(servers, st.text(max_size=5), st.integers(0, 8))
def test_a_server_that_goes_moves_its_own_keys_only(names: list[str], key: str, gone: int) -> None:
    """The order of the others stays, so a key whose server stays keeps it, and one that comes back changes nothing."""
    lost = names[gone % len(names)]
    before = ranked(key, names)
    assert ranked(key, [name for name in names if name != lost]) == [name for name in before if name != lost]
    assert ranked(key, reversed(names)) == before


def test_keys_are_spread_evenly() -> None:
    """Of 8,000 keys each of eight servers is the best for about a thousand."""
    names = [f"model-{number}" for number in range(8)]
    best = Counter(ranked(str(key), names)[0] for key in range(8_000))
    assert all(850 < count < 1_150 for count in best.values())


def test_a_key_stays_where_it_is_while_there_is_room() -> None:
    """With no load, and with some on others, a key has one server; a full one is passed over for the second choice."""
    first, second, third = ranked("key", "abc")
    assert placed("key", {"a": 0, "b": 0, "c": 0}, 1.25) == ranked("key", "abc")
    assert placed("key", {"a": 4, "b": 4, "c": 4}, 1.25)[0] == first
    assert placed("key", {"a": 0, "b": 0, "c": 0} | {first: 3}, 1.25) == [second, third, first]
