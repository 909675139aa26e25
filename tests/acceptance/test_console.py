"""``antiphon up``: its page, its one writer, and what it says when it cannot start."""

import re
import signal
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place


def test_up_serves_its_page_to_whoever_has_the_token(place: "Place") -> None:
    """/healthz is open, everything else asks for the token; a second one is refused; Ctrl-C ends it with status 0."""
    up = place.start("up").says("console: http://127.0.0.1:")
    found = re.search(r"console: (http://127\.0\.0\.1:\d+/)\?token=(\S+)", up.said)
    assert found is not None
    with httpx.Client(base_url=found[1]) as browser:
        assert browser.get("/healthz").text == "ok\n"
        assert browser.get("/").status_code == 401
        assert browser.get("/api/runs", params={"token": "wrong"}).status_code == 401
        page = browser.get("/", params={"token": found[2]}, follow_redirects=True)
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]

    second = place.command("up")
    assert second.returncode == 1
    assert "is already being written by process" in second.stderr
    assert "Traceback" not in second.stderr

    assert up.ends(signal.SIGINT) == 0
    place.is_quiet()


def test_run_joins_the_console_that_is_there(place: "Place") -> None:
    """A node starts a console only if none is alive, and then leaves that one running."""
    up = place.start("up").says("console: http://127.0.0.1:")
    node = place.start("run", f"{place.workshop}:system").says("Ctrl-C drains and stops")
    assert "console" not in node.errors.read_text()
    assert node.ends(signal.SIGTERM) == 0
    assert up.process.poll() is None


def test_a_taken_port_ends_up_and_leaves_nothing(place: "Place") -> None:
    """The message names the port and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = place.command("up", "--port", str(port))
    assert done.returncode == 1
    assert re.search(rf"ConfigurationError: console port {port} .*--port", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    place.is_quiet()


@pytest.mark.parametrize(
    "arguments", [("up",), ("run", "WORKSHOP"), ("submit", "echo.ping", "{}"), ("agents",)], ids=lambda value: value[0]
)
def test_an_unreachable_server_is_said(place: "Place", arguments: tuple[str, ...]) -> None:
    """With the address and what to do: commands give up after a few seconds, and do not wait for a server to come."""
    with socket.socket() as mute:  # bound and not listening: whoever knocks is refused, and nobody else gets the port
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        place.more["ANTIPHON_NATS_URL"] = f"nats://127.0.0.1:{port}"
        done = place.command(*(f"{place.workshop}:system" if each == "WORKSHOP" else each for each in arguments))
    assert done.returncode == 1
    assert re.search(rf"BusUnavailable: .*127\.0\.0\.1:{port}.*ANTIPHON_NATS_URL", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    place.is_quiet()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ANTIPHON_NATS_URL", "http://here", r"ANTIPHON_NATS_URL is 'http://here', expected nats://HOST:PORT"),
        ("ANTIPHON_TRACE", "lots", r"ANTIPHON_TRACE is 'lots', expected a number from 0 to 1"),
        ("ANTIPHON_HOME", "/proc/nowhere", r"/proc/nowhere.*ANTIPHON_HOME"),
    ],
)
def test_a_bad_setting_is_named(place: "Place", name: str, value: str, says: str) -> None:
    """The variable, what was found, and the accepted form."""
    place.more[name] = value
    done = place.command("agents")
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
