"""The container files: they parse, point at what exists, keep secrets out, and give each container only its own."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillroom.config.env import REPOSITORY

LONG_RUNNING = {"postgres", "valkey", "web", "scheduler", "notifier", "node-cpu", "node-gpu", "proxy"}
ONCE = {"migrate", "node-cpu-token", "node-gpu-token"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    return parsed


def test_the_services_are_all_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == LONG_RUNNING | ONCE
    assert {name for name, service in compose["services"].items() if service["restart"] == "no"} == ONCE


def test_what_is_referred_to_is_declared(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert set(service["networks"]) <= set(compose["networks"])
        named = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
        assert named <= set(compose["volumes"])
        assert all(
            (REPOSITORY / volume.split(":")[0]).is_file() for volume in service.get("volumes", []) if volume[0] == "."
        )


def test_a_service_that_is_waited_for_healthy_has_a_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            needed = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
            assert needed[condition["condition"]] in services[name]


def test_profiles_keep_the_optional_parts_out_of_a_plain_start(compose: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service}
    assert profiles == {"node-gpu-token": ["gpu"], "node-gpu": ["gpu"], "proxy": ["proxy"]}


def test_only_migrate_can_log_in_as_the_owner(compose: dict[str, Any]) -> None:
    holders = {
        name for name, service in compose["services"].items() if "POSTGRES_PASSWORD" in str(service.get("environment"))
    }
    assert holders == {"postgres", "migrate"}


def test_nodes_have_no_way_into_the_database(compose: dict[str, Any]) -> None:
    for name in ("node-cpu", "node-gpu"):
        service = compose["services"][name]
        assert "data" not in service["networks"]
        assert not any("DATABASE" in variable or "SECRET" in variable for variable in service["environment"])


def test_secrets_come_from_the_environment(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable


@pytest.mark.parametrize("name", ["web", "node"])
def test_dockerfiles_copy_what_exists_and_what_is_sent(name: str) -> None:
    lines = (REPOSITORY / f"deploy/{name}.Dockerfile").read_text().replace("\\\n", " ").splitlines()
    sent = (REPOSITORY / f"deploy/{name}.Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source for line in lines if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert any(f"!{part}" in sent or f"!{part}/" in sent for part in (source, *map(str, Path(source).parents))), (
            source
        )
    assert any(line.startswith("USER ") for line in lines), "no image runs as root"


def test_the_web_image_has_no_array_frameworks() -> None:
    locked = {line.split("==")[0] for line in (REPOSITORY / "requirements/web.txt").read_text().splitlines()}
    assert not locked & {"jax", "jaxlib", "torch", "optax", "scipy", "pandas"}
