import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.passwords import FORM, decoy, kept, matches

SALT = bytes(range(16))


def test_it_is_scrypt_as_others_compute_it() -> None:
    """N = 2^14, r = 8, p = 5, 32 bytes: what OpenSSL and every other implementation makes of the same."""
    import hashlib
    from base64 import urlsafe_b64decode

    _, salt, key = kept("correct horse battery", SALT).split(":")
    assert urlsafe_b64decode(salt + "==") == SALT
    expected = hashlib.scrypt(b"correct horse battery", salt=SALT, n=16_384, r=8, p=5, maxmem=2**26, dklen=32)
    assert urlsafe_b64decode(key + "=") == expected


@settings(max_examples=3, deadline=None)
@given(st.text(max_size=40))
def test_what_is_kept_matches_that_password_only(password: str) -> None:
    """Any text at all; a letter more is another one."""
    found = kept(password, SALT)
    assert re.fullmatch(FORM, found)
    assert matches(password, found)
    assert not matches(password + "x", found)


def test_every_salt_is_another() -> None:
    """Two who chose the same password cannot be told by what is kept of them."""
    assert kept("the same password") != kept("the same password")


def test_keyboards_that_compose_differently_agree() -> None:
    """An é of one character and one of two are the same letter."""
    assert matches("caf\u00e9 au lait", kept("cafe\u0301 au lait", SALT))


def test_a_decoy_looks_like_one_and_matches_nothing() -> None:
    """It costs as much to look at."""
    assert re.fullmatch(FORM, decoy())
    assert not matches("", decoy())


@pytest.mark.parametrize("text", ["password", "scrypt::", "scrypt:a:b", "SCRYPT:" + "A" * 22 + ":" + "A" * 43])
def test_other_texts_are_none(text: str) -> None:
    """The settings refuse a password that was written down as it is typed."""
    assert re.fullmatch(FORM, text) is None
