"""A certificate and its key, as files: what a server proves with that it is the one its name says."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from antiphon.runtime.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Files in PEM: the certificate and what vouches for it, and the private key where that is in another file."""

    chain: Path
    key: Path | None = None

    def check(self) -> None:
        """Whether a server can be started with it.

        Raises:
            ConfigurationError: a file cannot be read, or the two do not belong together.
        """
        files = f"{self.chain}" if self.key is None else f"{self.chain} and {self.key}"
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.chain, self.key, password=_refuse)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else error
            raise ConfigurationError(
                f"{files} cannot be used as a certificate ({reason}): expected PEM files, the certificate first, then "
                "those that vouch for it, and its private key without a passphrase"
            ) from None


def _refuse() -> str:
    """OpenSSL would ask at the terminal, and a server that starts by itself would wait there for ever."""
    raise ValueError("the key has a passphrase")
