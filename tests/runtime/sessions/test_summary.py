"""How a summary is asked for, and what stands for it."""

from antiphon.runtime.sessions import summary
from antiphon.runtime.sessions.window import Window, tokens_of
from antiphon.schemas.inference import Role, ToolCall, ToolResult, Turn, turn

WINDOW = Window(tokens=256, summarise=True)


def test_the_prompt_has_what_was_said_and_what_was_called() -> None:
    """Who said it, tool calls with arguments and results, and the earlier summary."""
    turns = (
        turn(Role.USER, "Book a table for Ada."),
        Turn(role=Role.ASSISTANT, parts=(ToolCall(id="1", name="book", arguments={"n": 2}),)),
        Turn(role=Role.TOOL, parts=(ToolResult(id="1", name="book", content="done"),)),
    )
    prompt = summary.request(WINDOW, summary.as_turns(WINDOW, "They met."), turns)
    assert prompt.endswith(
        "What was said before that: They met.\n\n"
        "user: Book a table for Ada.\nassistant: [calls book with {'n': 2}]\ntool: [book says: done]"
    )
    assert "before that" not in summary.request(WINDOW, (), turns)


def test_the_prompt_is_no_longer_than_a_window() -> None:
    """Of more, the newest is summed up: a model with a small context must be able to read it."""
    turns = (turn(Role.USER, "first " * 20), turn(Role.ASSISTANT, "reply " * 20)) * 10
    prompt = summary.request(WINDOW, (), turns)
    assert tokens_of((turn(Role.USER, prompt),)) < 2 * WINDOW.tokens


def test_a_summary_is_a_question_and_its_answer_of_a_quarter_of_the_window() -> None:
    """Cut there, between characters, whatever the model said."""
    asked, answered = summary.as_turns(WINDOW, "  漢字" * 1000)
    assert (asked.role, answered.role, answered.segment) == (Role.USER, Role.ASSISTANT, summary.SEGMENT)
    assert tokens_of((answered,)) <= WINDOW.tokens // 4 + 4
    assert answered.text.startswith("漢字")
