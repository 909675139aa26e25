"""A bounded store of results, against a model of what should be in it."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.policies.shelf import Shelf

STEPS = st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 6), st.integers(0, 40)))


@given(most=st.integers(1, 4), max_bytes=st.integers(0, 60), steps=STEPS)
def test_it_agrees_with_a_model(most: int, max_bytes: int, steps: list[tuple[str, int, int]]) -> None:
    """Never more than its bounds, and always the most recently used of what fits."""
    shelf: Shelf[int] = Shelf(most=most, max_bytes=max_bytes)
    model: list[tuple[int, int]] = []  # key and size, the least recently used first
    for number, (verb, key, size) in enumerate(steps):
        held = next((item for item in model if item[0] == key), None)
        if verb == "get":
            assert (shelf.get(key) is not None) == (held is not None)
            if held is not None:
                model.remove(held)
                model.append(held)
            continue
        if held is not None:
            model.remove(held)
        if verb == "drop":
            shelf.drop(key)
        else:
            shelf.put(key, number, size)
            if size <= max_bytes:
                model.append((key, size))
        while len(model) > most or sum(size for _, size in model) > max_bytes:
            model.pop(0)
        assert len(shelf) == len(model) <= most
        assert shelf.bytes == sum(size for _, size in model) <= max_bytes


def test_the_newest_of_a_key_is_given() -> None:
    """The older one's bytes are free again."""
    shelf: Shelf[str] = Shelf(most=2, max_bytes=10)
    shelf.put("k", "old", 8)
    shelf.put("k", "new", 4)
    assert (shelf.get("k"), shelf.bytes) == ("new", 4)
