"""The file of Ray's cluster launcher, with the checks of ``ray up``."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from ._files import INFRA, KUBERNETES, documents

(CONFIG,) = documents(INFRA / "ray-cluster" / "on-premise.yaml")


def test_ray_up_takes_it() -> None:
    prepared = prepare_config(copy.deepcopy(CONFIG))
    validate_config(prepared)
    assert prepared["max_workers"] == len(CONFIG["provider"]["worker_ips"])


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(max_worker=2),
        lambda config: config.pop("provider"),
        lambda config: config["docker"].update(images="x"),
    ],
)
def test_mistakes_are_found(change: Any) -> None:
    config = copy.deepcopy(CONFIG)
    change(config)
    with pytest.raises((jsonschema.ValidationError, KeyError)):
        validate_config(config)


def test_image_and_ports_are_those_of_kubernetes() -> None:
    (base,) = documents(KUBERNETES / "ray" / "base" / "kustomization.yaml")
    (image,) = base["images"]
    assert CONFIG["docker"]["image"] == f"{image['newName']}:{image['newTag']}"
    head = " ".join(CONFIG["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1 --dashboard-port=8265" in head
    assert "--num-cpus=0" in head
    for commands in (head, " ".join(CONFIG["worker_start_ray_commands"])):
        assert "--metrics-export-port=8080" in commands


def test_asks_for_a_token_and_holds_none() -> None:
    options = " ".join(CONFIG["docker"]["run_options"])
    assert "RAY_AUTH_MODE=token" in options
    assert "RAY_AUTH_TOKEN=" not in options
    assert "PASSWORD=" not in options
