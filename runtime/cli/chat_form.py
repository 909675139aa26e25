"""Which field of a handler's message takes what a person types, and which one names the conversation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.identity import Address
from antiphon.schemas.node import HandlerCard

USUAL = "text"  # of several, the field that takes what is typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """``text`` is a field's name; ``session`` a field and its value, or None where the message has no such field."""

    text: str
    session: tuple[str, str] | None = None

    def message(self, typed: str) -> dict[str, str]:
        """The message for one line."""
        named = dict([self.session]) if self.session is not None else {}
        return {**named, self.text: typed}


def form_of(address: Address, card: HandlerCard, *, field: str, session: str, default_session: str) -> Form:
    """How to talk to a handler, from the JSON schema of its message.

    ``field`` takes what is typed; without one it is the field ``text``, or else the only required text field that is
    left. ``session`` is ``NAME`` or ``FIELD=NAME``; a name alone goes into the only other required text field. A keyed
    handler whose message has such a field gets ``default_session`` if nothing is said.

    Raises:
        ConfigurationError: there is no such field, there are several, or the message requires more than these.
    """
    properties: Mapping[str, Mapping[str, Any]] = card.input.json_schema.get("properties", {})
    required = tuple(card.input.json_schema.get("required", ()))
    texts = [name for name in required if _is_text(properties, name)]
    if session and not card.keyed:
        raise ConfigurationError(f"{address} has no key, so it keeps no conversations: leave --session out")
    named, is_given, value = session.partition("=")
    if not is_given or named not in properties:
        named, value = "", session or default_session
    for name in filter(None, (field, named)):
        if not _is_text(properties, name):
            known = ", ".join(each for each in properties if _is_text(properties, each)) or "none"
            raise ConfigurationError(f"{card.input.name} of {address} has no text field {name!r}; it has: {known}")
    text = field or _text_field(address, card, [name for name in texts if name != named], properties)
    others = [name for name in texts if name != text]
    if card.keyed and not named and len(others) == 1:
        (named,) = others
    if session and not named:
        raise ConfigurationError(
            f"which field of {card.input.name} names the conversation? Say --session FIELD=NAME; "
            f"required besides {text!r}: {', '.join(others) or 'none'}"
        )
    missing = [name for name in required if name not in (text, named)]
    if missing:
        raise ConfigurationError(
            f"{card.input.name} of {address} also requires {', '.join(missing)}: a chat fills one text field and one "
            "that names the conversation (--session FIELD=NAME); use `antiphon submit` for the whole message"
        )
    return Form(text=text, session=(named, value) if named else None)


def answer_of(card: HandlerCard, reply: Mapping[str, Any]) -> str | None:
    """The reply's words where it has one text field; None: it has none or several."""
    texts = [name for name in reply if _is_text(card.output.json_schema.get("properties", {}), name)]
    return str(reply[texts[0]]) if len(texts) == 1 else None


def _text_field(
    address: Address, card: HandlerCard, texts: list[str], properties: Mapping[str, Mapping[str, Any]]
) -> str:
    if _is_text(properties, USUAL):
        return USUAL
    if len(texts) == 1:
        return texts[0]
    if not any(_is_text(properties, name) for name in properties):
        raise ConfigurationError(
            f"{card.input.name} of {address} has no text field for what is typed: use `antiphon submit` for its message"
        )
    raise ConfigurationError(
        f"which field of {card.input.name} takes what is typed to {address}? Say --field NAME; "
        f"its required text fields: {', '.join(texts) or 'none'}"
    )


def _is_text(properties: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return properties.get(name, {}).get("type") == "string"
