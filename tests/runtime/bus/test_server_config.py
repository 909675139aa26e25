"""Configuration files of the embedded servers."""

from pathlib import Path

from antiphon.runtime.bus.server_config import Routes, server_config, server_name

TOKEN = "ab" * 24
FOLDER = Path("/home/of/servers")


def test_a_single_server() -> None:
    """Loopback, any free port, the server's own flushing, and no cluster."""
    text = server_config(FOLDER, name="one", token=TOKEN, port=None, sync_always=False)
    assert 'listen: "127.0.0.1:-1"' in text
    assert "sync_interval" not in text and "cluster {" not in text


def test_a_member_of_a_cluster() -> None:
    """Routes to all, with the token as their password, and on loopback too."""
    routes = Routes(own=2, ports=(1, 2, 3))
    text = server_config(FOLDER, name="two", token=TOKEN, port=9, sync_always=True, routes=routes)
    assert "sync_interval: always" in text
    assert 'listen: "127.0.0.1:2"' in text
    assert all(f"nats://route:{TOKEN}@127.0.0.1:{port}" in text for port in (1, 2, 3))


def test_names_keep_the_token_secret() -> None:
    """Each member has its own name, and none shows the token."""
    names = {server_name(TOKEN, index) for index in range(4)}
    assert len(names) == 4
    assert not any(TOKEN in name for name in names)
