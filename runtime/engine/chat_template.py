"""A conversation as the token ids a chat model was trained on."""

import re
from collections.abc import Sequence
from datetime import datetime

from jinja2 import TemplateSyntaxError

from antiphon.runtime.engine.template_sandbox import Refused, TemplateSandbox
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest, ModelFileError
from antiphon.schemas.inference import TextPart, Turn

_MARKERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # Unicode noncharacters: never assigned, rarely seen
_LONGEST = 2**20  # characters of a template; the longest in use have 20,000


class ChatTemplate:
    """A checkpoint's Jinja template, run in a sandbox: it comes with a download.

    What turns say cannot become a control token. A text that spells one is broken by a marker before rendering; the
    rendered text is cut at the control tokens that are left, the template's own; then the markers are removed and
    the pieces encoded as plain text.
    """

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        """Compile ``source``.

        Raises:
            ModelFileError: not a Jinja template, or one that cannot be kept within bounds.
        """
        if len(source) > _LONGEST:
            raise ModelFileError(f"chat template: found {len(source)} characters, expected {_LONGEST} at most")
        try:
            self._code = TemplateSandbox().compiled(source)
        except TemplateSyntaxError as error:
            raise ModelFileError(f"chat template: line {error.lineno}: {error.message}; expected Jinja") from error
        except Exception as error:  # Python's own compiler takes 20 loops in each other, and has its limits of depth
            raise ModelFileError(f"chat template: {error}; expected one that can be kept within bounds") from error
        self._tokenizer = tokenizer
        longest_first = sorted(tokenizer.control, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, turns: Sequence[Turn], *, today: datetime) -> list[int]:
        """Ids of the conversation up to where the assistant begins to speak.

        Raises:
            InvalidRequest: a turn with tool parts, or a conversation the template refuses.
            ModelFileError: the template fails, or does more than ``TemplateSandbox`` allows.
        """
        texts = [_text(turn) for turn in turns]
        marker = next((mark for mark in _MARKERS if not any(mark in text for text in texts)), None)
        if marker is None:
            raise InvalidRequest("conversation: found all of U+FDD0 to U+FDEF, expected text; remove noncharacters")

        def breaking(match: re.Match[str]) -> str:
            return match[0][0] + marker + match[0][1:]

        messages = [
            {"role": turn.role.value, "content": self._control.sub(breaking, text)}
            for turn, text in zip(turns, texts, strict=True)
        ]
        rendered = self._render(messages, today)
        ids: list[int] = []
        position = 0
        for match in self._control.finditer(rendered):
            ids += self._plain(rendered[position : match.start()], marker, position > 0)
            ids.append(self._tokenizer.control[match[0]])
            position = match.end()
        return ids + self._plain(rendered[position:], marker, position > 0)

    def _plain(self, text: str, marker: str, continues: bool) -> list[int]:
        text = text.replace(marker, "")
        return self._tokenizer.encode(text, continues=continues) if text else []

    def _render(self, messages: list[dict[str, str]], today: datetime) -> str:
        try:
            return TemplateSandbox().render(
                self._code,
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._tokenizer.bos,
                eos_token=self._tokenizer.eos,
                strftime_now=today.strftime,
            )
        except Refused as error:
            raise InvalidRequest(f"the model's chat template refuses this conversation: {error}") from error
        except Exception as error:  # a template is code: what it may raise is without end, and always the file's fault
            raise ModelFileError(f"chat template: fails with {type(error).__name__}: {error}") from error


def _text(turn: Turn) -> str:
    for part in turn.parts:
        if not isinstance(part, TextPart):
            raise InvalidRequest(f"found a {part.kind} part in a {turn.role} turn, this engine takes text parts only")
    return turn.text
