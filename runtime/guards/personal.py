"""Personal data that can be told by its form, in plain text. Pure.

Found: e-mail addresses; IBANs with a right check sum (ISO 13616, mod 97); payment cards of 14 to 19 digits that begin
as cards do and pass Luhn's check (ISO/IEC 7812); telephone numbers that begin with ``+`` or ``00``, that begin with a
single 0 and have 7 to 12 digits, or that are written 3-3-4 as in North America; US social security numbers with
dashes; IP addresses. Spaces and dashes inside cards and IBANs do not hide them.

Not found: names, streets, dates of birth, other countries' identity numbers, whatever is spelled out, encoded, broken
over lines or held in a JSON number. Some numbers that are none of these look like one and go as well.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """What becomes ``[name]``: matches of ``pattern``, as much of each as ``holds``, cut at spaces and dashes."""

    name: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = lambda _: True


def is_card(text: str) -> bool:
    """Whether the digits pass Luhn's check and are as many as a card has."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 14 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether the check sum is right."""
    plain = text.replace(" ", "").upper()
    return 15 <= len(plain) <= 34 and int((plain[4:] + plain[:4]).translate(_AS_DIGITS)) % 97 == 1


def is_address(text: str) -> bool:
    """Whether it is an IP address with a digit in it (``a::b`` is more likely a name)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(sign.isdigit() for sign in text)


_AS_DIGITS: Final = str.maketrans({letter: str(10 + at) for at, letter in enumerate(ascii_uppercase)})
ROUNDS: Final = 8  # what is found may have hidden what touches it; without a limit a long chain takes quadratic time
_PHONE: Final = (
    r"\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}(?![0-9])",
    r"(?<![\w+])00[1-9](?:[ ./()-]{0,2}[0-9]){7,14}(?![0-9])",
    r"(?<![\w.,+/-])0[1-9][0-9]{0,3}[/-]?(?: ?[0-9]){5,8}(?![\w:])",
    r"(?<!\w)[0-9]{3}[-. ][0-9]{3}[-. ][0-9]{4}(?!\w)",
    r"\([0-9]{3}\) ?[0-9]{3}[-. ][0-9]{4}(?!\w)",
)
KINDS: Final = (  # in this order: what is part of a longer kind is looked for after it
    Kind("email", re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}")),
    Kind(
        "iban",
        re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])"),
        is_iban,
    ),
    Kind("card", re.compile(r"(?<![0-9])[2-6](?:[ -]?[0-9]){13,18}(?![0-9])"), is_card),
    Kind("ssn", re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")),
    Kind("ip", re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.\w)"), is_address),
    Kind("ip", re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"), is_address),
    Kind("phone", re.compile("|".join(_PHONE))),
)


def redacted(text: str) -> str:
    """The text with ``[email]``, ``[iban]``, ``[card]``, ``[ssn]``, ``[ip]`` and ``[phone]`` in place of such data."""
    for _ in range(ROUNDS):
        before = text
        for kind in KINDS:
            text = _without(kind, text)
        if text == before:
            break
    return text


def _without(kind: Kind, text: str) -> str:
    kept: list[str] = []
    start = at = 0
    while (match := kind.pattern.search(text, at)) is not None:
        length = _length(kind, match[0])
        if length:
            kept += (text[start : match.start()], f"[{kind.name}]")
            start = at = match.start() + length
        else:
            at = match.start() + 1  # one may begin inside what is none
    return "".join((*kept, text[start:]))


def _length(kind: Kind, match: str) -> int:
    """How much of a match is one: the pattern takes words that follow as well."""
    ends = [at for at, sign in enumerate(match) if sign in " -"]
    return next((end for end in (len(match), *reversed(ends)) if kind.holds(match[:end])), 0)
