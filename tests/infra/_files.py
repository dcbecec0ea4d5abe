"""The files of ``infra/``, parsed."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"

OVERLAYS = ("ray/cpu", "ray/gpu", "job/cpu", "job/gpu", "mlflow")
"""Folders for ``kubectl apply -k``."""

COMPONENTS = ("ray/s3", "ray/autoscaling")
"""Optional components of the overlays."""


def documents(path: Path) -> list[Any]:
    """Return the documents of a YAML file."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found is not None]


def resources() -> dict[str, dict[str, Any]]:
    """Return ``FILE:KIND/NAME`` → each complete resource in the files, without patches and kustomizations."""
    found = {}
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for document in documents(path):
            if isinstance(document, dict) and "metadata" in document:
                name = f"{path.relative_to(KUBERNETES)}:{document['kind']}/{document['metadata']['name']}"
                found[name] = document
    return found


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """Return the resources that ``kubectl apply -k`` would send."""
    return _render(KUBERNETES / overlay)


def rendered_with(overlay: str, components: tuple[str, ...], folder: Path) -> list[dict[str, Any]]:
    """Return the same with components enabled in the overlay of the cluster."""
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    overlay_file = folder / "kubernetes" / "ray" / overlay.rpartition("/")[2] / "kustomization.yaml"
    lines = [line for line in overlay_file.read_text().splitlines() if not line.startswith("#")]
    lines += ["components:", *(f"  - ../../{component}" for component in components)]
    overlay_file.write_text("\n".join(lines) + "\n")
    return _render(folder / "kubernetes" / overlay)


def _render(folder: Path) -> list[dict[str, Any]]:
    run = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def only(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the only resource of a kind."""
    (one,) = (document for document in found if document["kind"] == kind)
    return one


def pod_specs(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the pods that a resource creates: name → spec."""
    spec = document.get("spec", {})
    if document["kind"] in ("Deployment", "StatefulSet"):
        return {document["metadata"]["name"]: spec["template"]["spec"]}
    cluster = spec.get("rayClusterSpec", {}) if document["kind"] == "RayJob" else spec
    if document["kind"] not in ("RayCluster", "RayJob") or not cluster:
        return {}
    workers = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"]["spec"], **workers}


@cache
def locked() -> dict[str, str]:
    """Return package → version in ``requirements.lock``."""
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", text, flags=re.MULTILINE))
