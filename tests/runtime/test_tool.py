"""Tools: their ttl, effect and arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import tool
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.task import Effect

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


async def search(query: str, limit: int = 3) -> list[str]:
    """Finds things."""
    return [query] * limit


@given(number=st.integers(1, 10_000), unit=st.sampled_from(sorted(UNITS)))
def test_a_ttl_is_a_number_with_a_unit(number: int, unit: str) -> None:
    """In seconds, whatever the unit."""
    assert tool(effect="read", ttl=f"{number}{unit}")(search).ttl_s == pytest.approx(number * UNITS[unit])


@pytest.mark.parametrize(("ttl", "seconds"), [("1.5s", 1.5), (3, 3.0), (0.25, 0.25), (None, None)])
def test_a_ttl_may_be_plain_seconds_or_absent(ttl: str | float | None, seconds: float | None) -> None:
    """None is no promise."""
    assert tool(effect="read", ttl=ttl)(search).ttl_s == seconds


@pytest.mark.parametrize("ttl", ["", "s", "10", "-1s", "1 s", "1w", "0s", 0, -3.0, float("nan"), float("inf"), "1e3s"])
def test_an_unreadable_ttl_is_explained(ttl: str | float) -> None:
    """Found and expected."""
    with pytest.raises(ConfigurationError, match=r"ttl is .*, expected"):
        tool(effect="read", ttl=ttl)


@given(st.text(max_size=8))
def test_any_other_text_is_refused_or_positive(ttl: str) -> None:
    """No text crashes, and no ttl is zero or less."""
    try:
        found = tool(effect="read", ttl=ttl)(search).ttl_s
    except ConfigurationError:
        return
    assert found is not None
    assert found > 0


def test_the_same_call_always_looks_the_same() -> None:
    """Position, keyword and default give equal arguments: the key of caches and duplicates."""
    found = tool(effect="pure")(search)
    expected = {"query": "sky", "limit": 3}
    assert found.arguments(("sky",), {}) == expected
    assert found.arguments(("sky", 3), {}) == expected
    assert found.arguments((), {"limit": 3, "query": "sky"}) == expected


async def test_a_tool_remains_the_function_it_was() -> None:
    """Name, docstring, and a plain call for unit tests; writing is the safe assumption."""
    found = tool()(search)
    assert (found.name, found.description, found.effect) == ("search", "Finds things.", Effect.WRITE)
    assert await found("sky", limit=1) == ["sky"]


def test_names_that_no_span_or_model_can_carry_are_refused() -> None:
    """Where the tool is defined."""

    async def Search(query: str) -> str:
        return query

    with pytest.raises(ConfigurationError, match="tool name 'Search'"):
        tool()(Search)
