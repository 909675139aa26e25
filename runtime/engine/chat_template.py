"""A conversation as the token ids a chat model was trained on."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest, ModelFileError
from antiphon.schemas.inference import TextPart, Turn

_MARKERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # Unicode noncharacters: never assigned, rarely seen


class _Refused(Exception):
    """The template called raise_exception."""


class ChatTemplate:
    """A checkpoint's Jinja template, run in a sandbox: it comes with a download.

    What turns say cannot become a control token. A text that spells one is broken by a marker before rendering; the
    rendered text is cut at the control tokens that are left, the template's own; then the markers are removed and
    the pieces encoded as plain text.
    """

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        """Compile ``source``.

        Raises:
            ModelFileError: not a Jinja template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ModelFileError(f"chat template: line {error.lineno}: {error.message}; expected Jinja") from error
        self._tokenizer = tokenizer
        longest_first = sorted(tokenizer.control, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, turns: Sequence[Turn], *, today: datetime) -> list[int]:
        """Ids of the conversation up to where the assistant begins to speak.

        Raises:
            InvalidRequest: a turn with tool parts, or a conversation the template refuses.
            ModelFileError: the template fails.
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
            ids += self._plain(rendered[position : match.start()], marker)
            ids.append(self._tokenizer.control[match[0]])
            position = match.end()
        return ids + self._plain(rendered[position:], marker)

    def _plain(self, text: str, marker: str) -> list[int]:
        text = text.replace(marker, "")
        return self._tokenizer.encode(text) if text else []

    def _render(self, messages: list[dict[str, str]], today: datetime) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._tokenizer.bos,
                eos_token=self._tokenizer.eos,
                strftime_now=today.strftime,
            )
        except _Refused as error:
            raise InvalidRequest(f"the model's chat template refuses this conversation: {error}") from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ModelFileError(f"chat template: fails with {type(error).__name__}: {error}") from error


def _text(turn: Turn) -> str:
    for part in turn.parts:
        if not isinstance(part, TextPart):
            raise InvalidRequest(f"found a {part.kind} part in a {turn.role} turn, this engine takes text parts only")
    return turn.text


def _tojson(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter escapes for HTML, which models were not trained on."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise _Refused(message)
