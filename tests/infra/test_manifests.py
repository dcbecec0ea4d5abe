"""Kubernetes manifests: against the schemas of Kubernetes and KubeRay, hardened, and consistent with each other."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.terminal.log_format import LogFormat
from nmt.orchestrator.terminal.standard_error import VARIABLE

from . import _kuberay, _kubernetes
from ._files import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    documents,
    locked,
    only,
    pod_specs,
    rendered,
    rendered_with,
    resources,
)

WRITTEN = resources()
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: nothing renders")


def check(document: dict[str, Any]) -> None:
    """Validate strictly: an unknown field is an error."""
    if document["apiVersion"].startswith("ray.io/"):
        jsonschema.validate(document, _kuberay.SCHEMAS[document["kind"]])
        for template in _kuberay.templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
            _kubernetes.validate(pod)
    else:
        _kubernetes.validate(document)


def whole(document: dict[str, Any]) -> dict[str, Any]:
    """Return a written resource; a job gets the cluster that kustomize would copy into it."""
    if document["kind"] != "RayJob":
        return document
    cluster = WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"]["spec"]
    return {**document, "spec": {**document["spec"], "rayClusterSpec": cluster}}


class TestAsWritten:
    @pytest.mark.parametrize("name", WRITTEN)
    def test_fits_the_schema(self, name: str) -> None:
        check(whole(WRITTEN[name]))

    def test_nothing_is_forgotten_in_a_kustomization(self) -> None:
        listed = set()
        for path in KUBERNETES.rglob("kustomization.yaml"):
            (content,) = documents(path)
            names = [*content.get("resources", ()), *content.get("components", ())]
            names += [patch["path"] for patch in content.get("patches", ()) if "path" in patch]
            names += [file for made in content.get("configMapGenerator", ()) for file in made.get("files", ())]
            for name in names:
                assert (path.parent / name).exists(), f"{path}: {name}"
                listed.add((path.parent / name).resolve())
        files = {path for path in KUBERNETES.rglob("*") if path.is_file() and path.name != "kustomization.yaml"}
        assert files - listed == {KUBERNETES / "namespace.yaml"}

    def test_the_job_trains_the_demo_with_the_cluster_s_storage_and_tracking(self) -> None:
        (given,) = documents(KUBERNETES / "ray" / "base" / "experiment.yaml")
        (demo,) = documents(ROOT / "experiments" / "complete_journey.yaml")
        assert given == {key: value for key, value in demo.items() if key not in ("storage", "tracking")}
        (base,) = documents(KUBERNETES / "ray" / "base" / "kustomization.yaml")
        settings = dict(line.split("=", 1) for line in base["configMapGenerator"][0]["literals"])
        words = WRITTEN["job/rayjob/ray-job.yaml:RayJob/nmt-compare"]["spec"]["entrypoint"].split()
        assert words[:3] == ["nmt", "compare", "/experiments/experiment.yaml"]
        for key in ("storage", "tracking"):
            (word,) = (word for word in words if word.startswith(f"{key}=$"))
            given[key] = settings[word.partition("$")[2]]
        Experiment.model_validate(given)

    def test_logs_are_json_lines(self) -> None:
        (base,) = documents(KUBERNETES / "ray" / "base" / "kustomization.yaml")
        assert f"{VARIABLE}={LogFormat.JSON}" in base["configMapGenerator"][0]["literals"]
        (config,) = documents(ROOT / "infra" / "ray-cluster" / "on-premise.yaml")
        assert f"--env {VARIABLE}={LogFormat.JSON}" in config["docker"]["run_options"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda spec: spec.update(rayVersoin="2.60.0"),
            lambda spec: spec["authOptions"].update(mode="tokens"),
            lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
            lambda spec: spec["headGroupSpec"].pop("template"),
            lambda spec: spec["workerGroupSpecs"][0].update(replicas="2"),
            lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].update(livenesProbe={}),
            lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"].update(limit={}),
        ],
    )
    def test_the_schema_finds_mistakes(self, change: Any) -> None:
        document = copy.deepcopy(WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"])
        change(document["spec"])
        with pytest.raises(jsonschema.ValidationError):
            check(document)


class TestHardened:
    """Requirements of the namespace's pod security level ``restricted``, and a read-only root file system."""

    @pytest.mark.parametrize("name", [name for name in WRITTEN if pod_specs(whole(WRITTEN[name]))])
    def test_pods(self, name: str) -> None:
        claimed = {claim["metadata"]["name"] for claim in WRITTEN[name]["spec"].get("volumeClaimTemplates", ())}
        for pod in pod_specs(whole(WRITTEN[name])).values():
            security = pod["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] > 0
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
            assert not any("hostPath" in volume for volume in pod["volumes"])
            volumes = claimed | {volume["name"] for volume in pod["volumes"]}
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                own = container["securityContext"]
                assert own["allowPrivilegeEscalation"] is False
                assert own["readOnlyRootFilesystem"] is True
                assert own["capabilities"] == {"drop": ["ALL"]}
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
                assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
                assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
                assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}

    @pytest.mark.parametrize("name", WRITTEN)
    def test_no_secret_stands_in_a_manifest(self, name: str) -> None:
        assert WRITTEN[name]["kind"] != "Secret"
        for pod in pod_specs(whole(WRITTEN[name])).values():
            for container in pod["containers"]:
                for entry in container.get("env", ()):
                    secret = any(word in entry["name"] for word in ("PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY"))
                    assert not secret or "secretKeyRef" in entry["valueFrom"], entry["name"]

    def test_only_the_head_may_log(self) -> None:
        pods = pod_specs(WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"])
        names = {pod: {entry["name"] for entry in spec["containers"][0]["env"]} for pod, spec in pods.items()}
        assert {pod for pod, found in names.items() if "MLFLOW_TRACKING_PASSWORD" in found} == {"head"}

    def test_the_namespace_refuses_others(self) -> None:
        labels = WRITTEN["namespace.yaml:Namespace/nmt"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_the_readme_promises_what_is_checked(self) -> None:
        assert f"Kubernetes {_kubernetes.VERSION} or newer" in (ROOT / "infra" / "README.md").read_text()

    def test_what_is_not_allowed_is_denied(self) -> None:
        policy = WRITTEN["ray/base/network-policy.yaml:NetworkPolicy/deny-all"]["spec"]
        assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


class TestConsistent:
    def test_versions_are_those_of_the_lock(self) -> None:
        cluster = WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"]["spec"]
        assert cluster["rayVersion"] == locked()["ray"]

    def test_probes_and_policies_meet_ports_that_are_open(self) -> None:
        head = pod_specs(WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"])["head"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in head["ports"]}
        assert ports == {"gcs": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
        (policy,) = (found for name, found in WRITTEN.items() if name.endswith("NetworkPolicy/ray"))
        entering = {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", ())}
        assert entering == {ports["dashboard"], ports["metrics"]}
        leaving = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())}
        service = WRITTEN["mlflow/mlflow.yaml:Service/mlflow"]["spec"]["ports"][0]
        assert service["port"] in leaving

    def test_metrics_are_where_they_are_looked_for(self) -> None:
        document = WRITTEN["ray/base/ray-cluster.yaml:RayCluster/nmt"]
        cluster = document["spec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        for group in groups:
            annotations = group["template"]["metadata"]["annotations"]
            assert annotations["prometheus.io/port"] == group["rayStartParams"]["metrics-export-port"] == "8080"

    def test_mlflow_answers_to_the_name_that_jobs_use(self) -> None:
        container = pod_specs(WRITTEN["mlflow/mlflow.yaml:Deployment/mlflow"])["mlflow"]["containers"][0]
        (allowed,) = (word.partition("=")[2] for word in container["args"] if word.startswith("--allowed-hosts="))
        (base,) = documents(KUBERNETES / "ray" / "base" / "kustomization.yaml")
        settings = dict(line.split("=", 1) for line in base["configMapGenerator"][0]["literals"])
        assert settings["NMT_TRACKING"].removeprefix("http://") in allowed.split(",")
        assert "localhost:5000" in allowed.split(",")
        assert "*" not in allowed

    def test_the_database_is_where_mlflow_looks(self) -> None:
        container = pod_specs(WRITTEN["mlflow/mlflow.yaml:Deployment/mlflow"])["mlflow"]["containers"][0]
        postgres = pod_specs(WRITTEN["mlflow/postgres.yaml:StatefulSet/postgres"])["postgres"]["containers"][0]
        given = {entry["name"]: entry.get("value") for entry in postgres["env"]}
        service = WRITTEN["mlflow/postgres.yaml:Service/postgres"]
        host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        address = f"postgresql://{given['POSTGRES_USER']}@{host}/{given['POSTGRES_DB']}"
        assert f"--backend-store-uri={address}" in container["args"]
        assert f"database_uri = {address}\n" in (KUBERNETES / "mlflow" / "basic_auth.ini").read_text()


@needs_kubectl
class TestRendered:
    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_fits_the_schema(self, overlay: str) -> None:
        for document in rendered(overlay):
            check(document)
            assert document["metadata"]["namespace"] == "nmt"

    @pytest.mark.parametrize("overlay", ["ray/cpu", "ray/gpu", "job/cpu", "job/gpu"])
    @pytest.mark.parametrize("components", [COMPONENTS[:1], COMPONENTS[1:], COMPONENTS])
    def test_components_fit_every_overlay(self, overlay: str, components: tuple[str, ...], tmp_path: Path) -> None:
        found = rendered_with(overlay, components, tmp_path)
        for document in found:
            check(document)
        cluster = _kuberay.cluster_of(only(found, "RayJob" if overlay.startswith("job") else "RayCluster"))
        assert cluster.get("enableInTreeAutoscaling", False) == ("ray/autoscaling" in components)
        claims = [document for document in found if document["kind"] == "PersistentVolumeClaim"]
        mounted = "persistentVolumeClaim" in yaml.safe_dump(cluster)
        assert mounted == bool(claims) == ("ray/s3" not in components)

    @pytest.mark.parametrize("kind", ["cpu", "gpu"])
    def test_the_job_makes_the_cluster_of_its_overlay(self, kind: str) -> None:
        assert (
            only(rendered(f"job/{kind}"), "RayJob")["spec"]["rayClusterSpec"]
            == (only(rendered(f"ray/{kind}"), "RayCluster")["spec"])
        )
        assert not any(document["kind"] == "RayCluster" for document in rendered(f"job/{kind}"))

    def test_gpus_are_asked_for_where_they_are_used(self) -> None:
        cluster = only(rendered("job/gpu"), "RayJob")
        (worker,) = pod_specs(cluster)["workers"]["containers"]
        assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert worker["image"].endswith("-cuda")
        assert "--set scaling.use_gpu=true" in cluster["spec"]["entrypoint"]
        assert "use_gpu" not in only(rendered("job/cpu"), "RayJob")["spec"]["entrypoint"]

    def test_every_image_has_a_version(self) -> None:
        for overlay in OVERLAYS:
            for image in images(rendered(overlay)):
                name, _, version = image.rpartition(":")
                assert name, image
                assert version[0].isdigit(), image

    def test_settings_and_secrets_that_pods_name_are_there_or_in_the_readme(self) -> None:
        readme = (ROOT / "infra" / "README.md").read_text()
        for overlay in OVERLAYS:
            made = {found["metadata"]["name"] for found in rendered(overlay) if found["kind"] == "ConfigMap"}
            for document in rendered(overlay):
                text = yaml.safe_dump(document)
                for container in (c for pod in pod_specs(document).values() for c in pod["containers"]):
                    for source in container.get("envFrom", ()):
                        assert source["configMapRef"]["name"] in made
                    for entry in container.get("env", ()):
                        if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                            assert f"generic {reference['name']} " in readme
                            assert f"--from-literal={reference['key']}=" in readme
                if "nmt-ray-token" in text:
                    assert "generic nmt-ray-token --from-literal=auth_token=" in readme


def images(found: list[dict[str, Any]]) -> Iterator[str]:
    for document in found:
        for pod in pod_specs(document).values():
            yield from (container["image"] for container in pod["containers"])
