"""The schema of KubeRay's resources, written by hand for the fields that ``infra/`` uses and their neighbours.

KubeRay publishes its schema as a custom resource definition in its repository and its Helm chart; no Python package has
it. Fields, types and enumerations are those of KubeRay's API reference for v1.7
(https://docs.ray.io/en/master/kuberay/references/api.html, ``raycluster_types.go``, ``rayjob_types.go``). Pod templates
are checked against the schema of Kubernetes.
"""

from __future__ import annotations

from typing import Any

STRING = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": STRING}
NUMBER = {"type": "integer", "minimum": 0}
SWITCH = {"type": "boolean"}
ANYTHING: dict[str, Any] = {"type": "object"}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_TEMPLATE = {"template": ANYTHING, "rayStartParams": TEXTS, "resources": TEXTS, "labels": TEXTS}
_HEAD = _object(
    {
        **_TEMPLATE,
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "headService": ANYTHING,
        "enableIngress": SWITCH,
        "ingressOptions": ANYTHING,
    },
    "template",
)
_WORKERS = _object(
    {
        **_TEMPLATE,
        "groupName": STRING,
        "replicas": NUMBER,
        "minReplicas": NUMBER,
        "maxReplicas": NUMBER,
        "numOfHosts": NUMBER,
        "idleTimeoutSeconds": NUMBER,
        "priority": {"type": "integer"},
        "suspend": SWITCH,
        "scaleStrategy": ANYTHING,
    },
    "groupName",
    "minReplicas",
    "maxReplicas",
    "template",
)
_AUTOSCALER = _object(
    {
        "version": {"enum": ["v1", "v2"]},
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
        "idleTimeoutSeconds": NUMBER,
        "resources": ANYTHING,
        "securityContext": ANYTHING,
        "image": STRING,
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        **{name: {"type": "array"} for name in ("env", "envFrom", "volumeMounts", "command", "args")},
    }
)
_CLUSTER = _object(
    {
        "rayVersion": STRING,
        "authOptions": _object(
            {"mode": {"enum": ["disabled", "token"]}, "secretName": STRING, "enableK8sTokenAuth": SWITCH}
        ),
        "headGroupSpec": _HEAD,
        "workerGroupSpecs": {"type": "array", "items": _WORKERS},
        "enableInTreeAutoscaling": SWITCH,
        "autoscalerOptions": _AUTOSCALER,
        "headServiceAnnotations": TEXTS,
        "gcsFaultToleranceOptions": ANYTHING,
        "historyServerOptions": ANYTHING,
        "networkPolicy": ANYTHING,
        "tlsOptions": _object({"enabled": SWITCH}),
        "upgradeStrategy": _object({"type": {"enum": ["Recreate", "None"]}}),
        "managedBy": STRING,
        "suspend": SWITCH,
    },
    "headGroupSpec",
)
_JOB = _object(
    {
        "rayClusterSpec": _CLUSTER,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "entrypoint": STRING,
        "entrypointNumCpus": {"type": "number", "minimum": 0},
        "entrypointNumGpus": {"type": "number", "minimum": 0},
        "entrypointResources": STRING,
        "runtimeEnvYAML": STRING,
        "jobId": STRING,
        "backoffLimit": NUMBER,
        "preRunningDeadlineSeconds": {"type": "integer", "minimum": 1},
        "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
        "shutdownAfterJobFinishes": SWITCH,
        "ttlSecondsAfterFinished": NUMBER,
        "deletionStrategy": ANYTHING,
        "submitterConfig": _object({"backoffLimit": NUMBER}),
        "submitterPodTemplate": ANYTHING,
        "clusterSelector": TEXTS,
        "metadata": TEXTS,
        "managedBy": STRING,
        "suspend": SWITCH,
    },
    "entrypoint",
    "rayClusterSpec",
)


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    fields = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": ANYTHING, "spec": spec}
    return _object(fields, "apiVersion", "kind", "metadata", "spec")


SCHEMAS = {"RayCluster": _resource("RayCluster", _CLUSTER), "RayJob": _resource("RayJob", _JOB)}
"""Kind → JSON schema."""


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster that a RayCluster is, or that a RayJob creates."""
    spec: dict[str, Any] = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pod templates of a cluster, the head's first."""
    cluster = cluster_of(document)
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
