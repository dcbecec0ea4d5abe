"""The JSON schemas of Kubernetes in the package ``kubernetes-validate``."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

VERSION = "1.33"
"""The oldest Kubernetes that the README promises."""

_FOLDER = f"kubernetes-json-schema/v{VERSION}.0-local-strict"


@cache
def _content(name: str) -> Any:
    return json.loads(files("kubernetes_validate").joinpath(f"{_FOLDER}/{name}").read_text(encoding="utf-8"))


@cache
def _registry() -> Registry[Any]:
    return Resource.from_contents(_content("_definitions.json")) @ Registry()


def validate(document: dict[str, Any]) -> None:
    """Validate a resource strictly: an unknown field is an error.

    Raises:
        ValidationError: It does not match its schema.
    """
    group, _, version = document["apiVersion"].rpartition("/")
    version_name = f"{group.partition('.')[0]}-{version}" if group else version
    schema = _content(f"{document['kind'].lower()}-{version_name}.json")
    jsonschema.validators.Draft202012Validator(schema, registry=_registry()).validate(document)
