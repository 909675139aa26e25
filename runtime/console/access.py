"""Where the console listens, under which names, and how people come in. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from pydantic import SecretStr

from antiphon.runtime.certificate import Certificate
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.settings import Settings

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
OWNER: Final = "owner"  # the name of whoever has the console's token

_EVERYWHERE = ("0.0.0.0", "::")
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\s]+)(?::(\d+))?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A web server before the console that knows who somebody is: the header that names them, and where it runs."""

    header: str
    networks: tuple[IPv4Network | IPv6Network, ...]

    def is_at(self, address: str) -> bool:
        """Whether a connection from this address is the proxy's."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the console is reached. People come in with the token, or by ``passwords``, or by ``proxy``.

    ``names``: under which it is opened, beside those of the loopback.
    """

    host: str = LOOPBACK[0]
    names: tuple[str, ...] = ()
    certificate: Certificate | None = None
    passwords: Mapping[str, SecretStr] = field(default_factory=dict)
    proxy: Proxy | None = None

    @property
    def named(self) -> bool:
        """Whether people prove who they are, so that nobody may merely say so."""
        return bool(self.passwords) or self.proxy is not None

    @property
    def scheme(self) -> str:
        """What is spoken here."""
        return "http" if self.certificate is None else "https"

    def address(self, port: int) -> str:
        """Where programs, and browsers without a proxy between, find it."""
        name = self.names[0] if self.host in _EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}:{port}/"

    def url(self, port: int, token: str) -> str:
        """What a person opens. The token is part of it where people come in by that."""
        if self.proxy is not None:
            return f"https://{self.names[0]}/ (the web server before {self.address(port)})"
        return self.address(port) if self.passwords else f"{self.address(port)}?token={token}"

    def is_ours(self, host: str, port: int) -> bool:
        """Whether a Host header names this console: a foreign page may reach us under a name of its own choice.

        A name from the settings counts with any port: maps of ports and proxies change it.
        """
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        at = int(match[2]) if match[2] else _PORTS[self.scheme]
        return match[1] in self.names or (match[1] in _LOOPBACK_NAMES and at == port)

    def is_own_page(self, origin: str, host: str) -> bool:
        """Whether a page from ``origin`` is the one under ``host``, which is ours.

        Under a name from the settings it came by TLS: ours, or the proxy's.
        """
        match = _HOST.fullmatch(host.lower())
        scheme = "https" if match is not None and match[1] in self.names else self.scheme
        return origin.lower() == f"{scheme}://{host.lower().removesuffix(f':{_PORTS[scheme]}')}"


LOCAL: Final = Access()


def access_of(settings: Settings) -> Access:
    """What the settings say.

    Raises:
        ConfigurationError: it would be open to other machines without a proof of who somebody is, or passwords would
            travel in the clear, or nobody could know its name.
    """
    host = settings.console_host
    certificate = None
    if settings.console_cert is not None:
        certificate = Certificate(chain=settings.console_cert, key=settings.console_key)
    elif settings.console_key is not None:
        raise ConfigurationError("console_key is set without console_cert: name the certificate that it belongs to")
    proxy = None
    if settings.console_proxy_header is not None:
        proxy = Proxy(header=settings.console_proxy_header, networks=settings.console_proxies)
    if proxy is not None and settings.console_passwords:
        raise ConfigurationError(
            "console_passwords and console_proxy_header are both set: people come in by one of them, unset the other"
        )
    if settings.console_passwords and certificate is None:
        raise ConfigurationError(
            "console_passwords is set without console_cert: a password must not travel in the clear, so name the PEM "
            "files of a certificate and its key (console_cert, console_key)"
        )
    if host not in LOOPBACK and proxy is None and not settings.console_passwords:
        raise ConfigurationError(
            f"console address {host!r} is open to other machines, expected a loopback address ({', '.join(LOOPBACK)}), "
            "or a proof of who somebody is: passwords and TLS (console_passwords, console_cert, console_key), or a web "
            "server with a login before it (console_proxy_header, console_proxies), see docs/console.md. Without them "
            "forward the port through ssh"
        )
    names = tuple(name.lower() for name in settings.console_names)
    if host not in LOOPBACK and host not in _EVERYWHERE:
        names = (*names, f"[{host}]" if ":" in host else host.lower())
    if not names and (host in _EVERYWHERE or proxy is not None):
        why = f"console address {host!r} is every address of this machine" if proxy is None else "a proxy has a name"
        raise ConfigurationError(
            f"{why}: say with console_names under which names the console is opened, such as "
            '["console.example.org"], because requests for any other name are refused'
        )
    return Access(
        host=host, names=names, certificate=certificate, passwords=settings.console_passwords, proxy=proxy
    )  # fmt: skip
