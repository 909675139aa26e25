"""The page about policies has every kind with its parameters, and what it says of them is so."""

import re
from collections.abc import Callable
from typing import Any, get_args

from antiphon.runtime.policies import aside, cache
from antiphon.runtime.policies.kinds import ABOUT, SHADOWS
from antiphon.schemas.policy import Action, Level

Page = Callable[[str], str]


def kinds() -> dict[str, Any]:
    """The classes of actions, by kind."""
    return {each.model_fields["kind"].default: each for each in get_args(get_args(Action)[0])}


def test_every_kind_is_in_the_table_with_its_parameters_and_targets(page: Page) -> None:
    """In the order in which they act, with the defaults of the schema."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .* \|$", page("docs/policies.md"), re.M)
    table = {kind: (parameters, about) for kind, parameters, about in rows if kind in kinds()}
    assert {*table} == {*kinds()}
    assert [kind for kind in table if kind in ABOUT] == [*ABOUT]
    for kind, action in kinds().items():
        fields = {name: field for name, field in action.model_fields.items() if name != "kind"}
        said = [
            f"`{name}`" if field.is_required() else f"`{name}` ({field.default:g})" for name, field in fields.items()
        ]
        assert table[kind][0] == (", ".join(said) or "none")
        if kind in ABOUT:
            assert table[kind][1] == ", ".join(ABOUT[kind])


def test_every_kind_and_level_is_described(page: Page) -> None:
    """A paragraph for each kind, with its guards, and a row for each level."""
    text = page("docs/policies.md")
    assert [kind for kind in kinds() if f"\n- **`{kind}`** " not in text] == []
    assert [level for level in Level if f"| `{level}` |" not in text] == []
    assert f"{', '.join(f'`{kind}`' for kind in SHADOWS[:-1])} and `{SHADOWS[-1]}` can be at level `shadow`" in text


def test_bounds_are_those_of_the_code(page: Page) -> None:
    """Of the cache, and of what runs beside."""
    text = page("docs/policies.md")
    assert f"of {cache.MOST:,} results and {cache.MAX_BYTES // 1024**2} MiB at most" in text
    assert aside.AT_ONCE == 8 and "at most eight times at once" in text
