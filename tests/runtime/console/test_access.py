"""Where the console may listen and under which names; every refusal names what is missing."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from antiphon.runtime.console.access import LOCAL, Access, access_of
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.passwords import decoy
from antiphon.runtime.settings import Settings

CERT = Path("cert.pem")
PEOPLE = {"ada": SecretStr(decoy())}
PROXY: dict[str, Any] = {"console_proxy_header": "X-User", "console_names": ["console.example.org"]}


def access(**given: Any) -> Access:
    return access_of(Settings.model_validate({"home": Path("home"), **{f"console_{k}": v for k, v in given.items()}}))


def plain(**given: Any) -> dict[str, Any]:
    return {key.removeprefix("console_"): value for key, value in given.items()}


def test_nothing_set_is_this_machine_and_the_token() -> None:
    """As the console has always been."""
    assert access() == LOCAL
    assert not LOCAL.named
    assert LOCAL.url(8484, "secret") == "http://127.0.0.1:8484/?token=secret"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "0.0.0.0"}, "open to other machines.*console_passwords.*console_proxy_header.*ssh"),
        ({"host": "192.0.2.1"}, "open to other machines"),
        ({"host": "::"}, "open to other machines"),
        ({"host": "0.0.0.0", "cert": CERT, "names": ["c.example"]}, "open to other machines"),
        ({"host": "192.0.2.1", "passwords": PEOPLE}, "without console_cert.*in the clear"),
        ({"passwords": PEOPLE}, "without console_cert"),
        ({"key": CERT}, "console_key is set without console_cert"),
        ({"cert": CERT, "passwords": PEOPLE, **plain(**PROXY)}, "both set.*unset the other"),
        ({"host": "0.0.0.0", "cert": CERT, "passwords": PEOPLE}, "console_names"),
        ({"host": "::", "cert": CERT, "passwords": PEOPLE}, "console_names"),
        ({"proxy_header": "X-User"}, "a proxy has a name.*console_names"),
    ],
)
def test_what_would_be_open_is_refused(given: dict[str, Any], says: str) -> None:
    """With what was found, what was expected, and what to set."""
    with pytest.raises(ConfigurationError, match=says):
        access(**given)


def test_passwords_and_tls_open_an_address() -> None:
    """Its own name counts beside the given ones."""
    found = access(host="192.0.2.1", cert=CERT, passwords=PEOPLE, names=["Console.Example.org"])
    assert found.named
    assert found.url(8484, "secret") == "https://192.0.2.1:8484/"
    for host in ("console.example.org", "console.example.org:443", "192.0.2.1:8484", "127.0.0.1:8484", "[::1]:8484"):
        assert found.is_ours(host, 8484), host
    for host in ("evil.example", "evil.console.example.org", "127.0.0.1", "127.0.0.1:80", "192.0.2.11", "", "[::2]"):
        assert not found.is_ours(host, 8484), host
    everywhere = access(host="::", cert=CERT, passwords=PEOPLE, names=["console.example.org"])
    assert everywhere.url(8484, "secret") == "https://console.example.org:8484/"
    assert access(host="2001:db8::1", cert=CERT, passwords=PEOPLE).url(1, "") == "https://[2001:db8::1]:1/"


def test_a_proxy_opens_its_name() -> None:
    """People go there, programs to where the console listens."""
    found = access(**plain(**PROXY))
    assert found.named
    assert found.url(8484, "secret") == "https://console.example.org/ (the web server before http://127.0.0.1:8484/)"
    assert found.proxy is not None
    assert found.proxy.is_at("127.0.0.1") and found.proxy.is_at("::1") and found.proxy.is_at("::ffff:127.0.0.1")
    assert not found.proxy.is_at("192.0.2.1") and not found.proxy.is_at("")
    near = access(**plain(**PROXY), proxies=["10.0.0.0/24", "2001:db8::/32"]).proxy
    assert near is not None
    assert near.is_at("10.0.0.7") and near.is_at("2001:db8::7")
    assert not near.is_at("10.0.1.7") and not near.is_at("127.0.0.1")


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8484", "127.0.0.1:8484", True),
        ("http://localhost:8484", "127.0.0.1:8484", False),  # another origin, for a browser
        ("https://127.0.0.1:8484", "127.0.0.1:8484", False),
        ("https://console.example.org", "console.example.org", True),
        ("https://console.example.org", "Console.example.org:443", True),
        ("https://console.example.org:8443", "console.example.org:8443", True),
        ("https://console.example.org:8443", "console.example.org", False),  # what else runs on that machine
        ("http://console.example.org", "console.example.org", False),  # anybody between could be its author
        ("https://console.example.org.evil.example", "console.example.org", False),
        ("null", "console.example.org", False),
    ],
)
def test_only_the_page_under_that_name_is_our_own(origin: str, host: str, own: bool) -> None:
    """By scheme, name and port."""
    assert access(**plain(**PROXY)).is_own_page(origin, host) is own


@pytest.mark.parametrize("host", ["127.0.0.1:8484", "console.example.org:8484"])
def test_with_tls_of_our_own_every_page_came_by_it(host: str) -> None:
    """The loopback's too."""
    found = access(cert=CERT, passwords=PEOPLE, names=["console.example.org"])
    assert found.is_own_page(f"https://{host}", host)
    assert not found.is_own_page(f"http://{host}", host)
