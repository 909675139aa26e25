"""A summary of what was said: how a model is asked for it, and the turns that stand for it from then on. Pure."""

from collections.abc import Sequence

from antiphon.runtime.sessions.window import BYTES_PER_TOKEN, Window
from antiphon.schemas.inference import Role, TextPart, ToolCall, Turn, turn

SEGMENT = "summary"
SHARE = 4  # a summary may take a quarter of its window
_ASKED = "Sum up our conversation so far."
_TASK = (
    "Sum up this conversation for somebody who has to go on with it. Keep names, facts, decisions and open questions; "
    "leave out greetings. Answer with the summary alone."
)


def request(window: Window, summary: Sequence[Turn], turns: Sequence[Turn]) -> str:
    """The prompt for a summary of an earlier summary, if there is one, and the newest of ``turns`` that fit."""
    said = "\n".join(f"{found.role}: {_written(found)}" for found in window.cut(turns))
    earlier = f"\n\nWhat was said before that: {summary[-1].text}" if summary else ""
    return f"{_TASK}{earlier}\n\n{said}"


def as_turns(window: Window, text: str) -> tuple[Turn, Turn]:
    """A question and its answer, which every chat template takes. A text that is too long is cut."""
    limit = window.tokens // SHARE * BYTES_PER_TOKEN
    fitting = text.strip().encode()[:limit].decode(errors="ignore")
    return turn(Role.USER, _ASKED, segment=SEGMENT), turn(Role.ASSISTANT, fitting, segment=SEGMENT)


def _written(found: Turn) -> str:
    words = []
    for part in found.parts:
        if isinstance(part, TextPart):
            words.append(part.text)
        elif isinstance(part, ToolCall):
            words.append(f"[calls {part.name} with {part.arguments}]")
        else:
            words.append(f"[{part.name} says: {part.content}]")
    return " ".join(words)
