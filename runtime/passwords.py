"""Passwords as they are kept: salted and stretched by scrypt, so that whoever reads the settings cannot sign in.

Scrypt: RFC 7914. Costs by OWASP's Password Storage Cheat Sheet: N = 2^14, r = 8, p = 5, which takes 16 MiB and a few
tenths of a second for each guess.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

FORM: Final = r"^scrypt:[A-Za-z0-9_-]{22}:[A-Za-z0-9_-]{43}$"  # no character that shells or compose files replace
SHORTEST: Final = 12  # characters
LONGEST: Final = 1_024

_N, _R, _P = 2**14, 8, 5
_SALT_BYTES, _KEY_BYTES = 16, 32


def kept(password: str, salt: bytes | None = None) -> str:
    """What is written down for a password; a salt of its own if none is given."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return f"scrypt:{_text(salt)}:{_text(_stretched(password, salt))}"


def matches(password: str, kept: str) -> bool:
    """Whether this is the password, in a time that says nothing about how near it is."""
    _, salt, _ = kept.split(":")
    key = _text(_stretched(password, urlsafe_b64decode(salt + "==")))
    return hmac.compare_digest(kept, f"scrypt:{salt}:{key}")


def decoy() -> str:
    """What no password matches: a name that nobody has is to take as long as any other."""
    return f"scrypt:{_text(secrets.token_bytes(_SALT_BYTES))}:{_text(secrets.token_bytes(_KEY_BYTES))}"


def _stretched(password: str, salt: bytes) -> bytes:
    import unicodedata  # a library of 1 MB, which only whoever has a password at hand needs

    # One keyboard composes an é, another sends e and an accent.
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(plain, salt=salt, n=_N, r=_R, p=_P, maxmem=2**26, dklen=_KEY_BYTES)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
