"""What writes and what only reads, with what lies below."""

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.whatif.effects import effects_of, read_only, writes
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build


@given(data=st.data(), size=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_one_pass_says_what_each_step_by_itself_says(data: st.DataObject, size: int) -> None:
    """On any tree of asks, tools of every effect and asks that nobody handled."""
    traced = Traced(1)
    handlers = [traced.ask(None, "a.b", 0, 1_000)]
    for i in range(size):
        above = data.draw(st.sampled_from(handlers))
        match data.draw(st.sampled_from(("ask", "lost", "pure", "read", "write", None))):
            case "ask":
                handlers.append(traced.ask(above, "a.b", i, i + 1))
            case "lost":
                traced.add(above, "publish", i, i + 1, kind=3, antiphon__operation="ask")
            case effect:
                traced.tool(above, "t", i, i + 1, effect=effect)
    trace = build([(span, "n1") for span in traced.spans])
    assert trace is not None
    effects = effects_of(trace)
    assert effects.writes == {step.index for step in trace.steps if writes(trace, step)}
    assert effects.read_only == {step.index for step in trace.steps if read_only(trace, step)}
