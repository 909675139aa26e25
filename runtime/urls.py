"""URLs as they may be shown and stored."""


def without_secrets(url: str) -> str:
    """The URL without user and password."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
