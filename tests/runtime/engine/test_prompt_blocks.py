"""Names of prompt prefixes."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.prompt_blocks import prompt_blocks


def test_one_name_a_whole_block() -> None:
    """A part of a block has no name yet; names are 16 hex digits."""
    assert [len(prompt_blocks(range(length))) for length in (0, 255, 256, 511, 512)] == [0, 0, 1, 1, 2]
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in prompt_blocks(range(512)))


@given(change=st.integers(0, 767))
def test_a_changed_token_changes_its_block_and_all_after(change: int) -> None:
    """And none before, so that a shared prefix shows as shared names."""
    prompt = list(range(768))
    other = prompt.copy()
    other[change] += 1
    same = [a == b for a, b in zip(prompt_blocks(prompt), prompt_blocks(other), strict=True)]
    assert same == [index < change // 256 for index in range(3)]
