"""Personal data by its form: what goes, what stays, and that once is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.guards.personal import is_card, is_iban, redacted

# What patterns begin, end and go on with, so that their edges meet.
PIECES = st.sampled_from(
    [
        *"@.+-()/ :_'",
        *"0123456789",
        "a",
        "ü",
        "GB29",
        "ada@lovelace.org",
        "GB29 NWBK 6016 1331 9268 19",
        "4111 1111 1111 1111",
        "378282246310005",
        "+44 20 7946 0018",
        "(555) 123-4567",
        "555-123-4567",
        "020 7946 0018",
        "123-45-6789",
        "10.20.30.40",
        "fe80::1",
        "[email]",
    ]
)
WHOLE = {
    "ada@lovelace.org": "[email]",
    "o'brien+notes@mail.example.co.uk": "[email]",
    "jürgen@müller.de": "[email]",
    "GB29 NWBK 6016 1331 9268 19": "[iban]",
    "de89370400440532013000": "[iban]",
    "4111 1111 1111 1111": "[card]",
    "5500-0000-0000-0004": "[card]",
    "378282246310005": "[card]",
    "123-45-6789": "[ssn]",
    "192.168.1.17": "[ip]",
    "2001:db8::ff00:42:8329": "[ip]",
    "+49 151 12345678": "[phone]",
    "+1 (555) 123-4567": "[phone]",
    "0044 20 7946 0018": "[phone]",
    "020 7946 0018": "[phone]",
    "0151/12345678": "[phone]",
    "(555) 123-4567": "[phone]",
    "555.123.4567": "[phone]",
}
HARMLESS = [
    "2024-01-15 12:30:45",
    "01-02-2024 12:30",
    "12/27/2023",
    "1700000000000",
    "1700000000000000000",
    "4111 1111 1111 1112",
    "GB29 NWBK 6016 1331 9268 18",
    "version 1.2.3",
    "std::move(a::b)",
    "10 000 000 000",
    "user@localhost",
    "order 12345-678",
    "000-12-3456",
]


@pytest.mark.parametrize(("text", "mark"), WHOLE.items())
@pytest.mark.parametrize("around", ["{}", "It is {}, they said.", "({})", "x: {}\n", "“{}”"])
def test_usual_forms_are_found(text: str, mark: str, around: str) -> None:
    """Alone, in a sentence, in brackets, at the end of a line; what is around them stays."""
    assert redacted(around.format(text)) == around.format(mark)


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_names_of_other_kinds_stay(text: str) -> None:
    """Dates, times, versions, code, and what only looks like it until its check sum is looked at."""
    assert redacted(text) == text


def test_words_and_numbers_next_to_it_do_not_hide_it() -> None:
    """A match that takes too much is cut, one that begins too early is begun again."""
    assert redacted("room 12 4111 1111 1111 1111 12/27") == "room 12 [card] 12/27"
    assert redacted("BE68 5390 0754 7034 IS MY ACCOUNT") == "[iban] IS MY ACCOUNT"


@given(st.lists(PIECES, max_size=8).map("".join))
def test_once_is_enough(text: str) -> None:
    """What is left has none that a second look would find."""
    once = redacted(text)
    assert redacted(once) == once


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    """Nothing crashes, and a text without digits and @ stays as it is."""
    found = redacted(text)
    if not any(sign.isdigit() or sign == "@" for sign in text):
        assert found == text


@given(st.integers(2 * 10**14, 6 * 10**15))
def test_exactly_one_last_digit_makes_a_card(number: int) -> None:
    """Luhn's check finds every single wrong digit."""
    assert sum(is_card(f"{number}{last}") for last in range(10)) == 1


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=11, max_size=30))
def test_exactly_one_check_sum_makes_an_iban(account: str) -> None:
    """Of the 97 that there are; spaces and case do not matter."""
    right = [f"DE{check:02}{account}" for check in range(2, 99) if is_iban(f"DE{check:02}{account}")]
    assert len(right) == 1
    assert is_iban(f"{right[0][:4]} {right[0][4:]}".lower())
