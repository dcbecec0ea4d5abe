"""The compose file: only one port is open, it has no secrets, and its server is that of Kubernetes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ._dockerfile import DOCKERFILE, of
from ._files import INFRA, KUBERNETES, documents, pod_specs, resources

FOLDER = INFRA / "mlflow"
(COMPOSE,) = documents(FOLDER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    assert re.search(r":[\w.-]*\d", service["image"]), "a version"


def test_only_mlflow_is_open_and_only_to_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "mlflow": ["127.0.0.1:5000:5000"]
    }
    closed = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    for name, service in SERVICES.items():
        assert name == "mlflow" or set(service["networks"]) <= closed


def test_every_secret_is_asked_for() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    assert wanted == set(re.findall(r"\$\{(\w+)", text)), "a missing one would be an empty string"
    example = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "example.env").read_text(), flags=re.MULTILINE))
    assert set(example) == wanted
    assert not any(example.values())
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|ACCESS_KEY", variable)
            assert not secret or value.startswith("${"), variable


def test_services_wait_for_each_other_and_say_when_they_are_ready() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]
            assert set(service["networks"]) & set(SERVICES[name]["networks"])


def test_the_build_takes_pip_s_settings_from_the_environment() -> None:
    build = SERVICES["mlflow"]["build"]
    assert set(build["args"]) == {rest for rest in of("ARG") if "=" not in rest}
    assert (FOLDER / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE


def test_volumes_and_networks_are_declared() -> None:
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).exists(), volume


def test_the_server_is_that_of_the_manifests() -> None:
    written = resources()
    deployed = pod_specs(written["mlflow/mlflow.yaml:Deployment/mlflow"])["mlflow"]["containers"][0]
    other = ("--allowed-hosts", "--artifacts-destination")
    shared = [word for word in [*deployed["command"], *deployed["args"]] if not word.startswith(other)]
    assert [word for word in SERVICES["mlflow"]["command"] if not word.startswith(other)] == shared
    names = {entry["name"] for entry in deployed["env"]}
    assert names <= set(SERVICES["mlflow"]["environment"])
    postgres = pod_specs(written["mlflow/postgres.yaml:StatefulSet/postgres"])["postgres"]["containers"][0]
    assert SERVICES["postgres"]["image"] == postgres["image"]
    (base,) = documents(KUBERNETES / "mlflow" / "kustomization.yaml")
    assert SERVICES["mlflow"]["image"] == f"{base['images'][0]['name']}:{base['images'][0]['newTag']}"
    assert (FOLDER / "basic_auth.ini").read_text() == (KUBERNETES / "mlflow" / "basic_auth.ini").read_text()
