"""Commands of the documents that ``test_documents.py`` does not give: those that another test gives, and the rest."""

from __future__ import annotations

DEMO = "tests/orchestrator/verbs/test_demo.py"
CLUSTER = "tests/orchestrator/submit/test_cluster.py"
IMAGE = "tests/infra/test_image_replayed.py"

ELSEWHERE = {
    "make demo": (DEMO, 'the_command("make demo")'),
    "nmt run experiments/complete_journey.yaml": (DEMO, 'the_command("nmt run experiments/complete_journey.yaml")'),
    ".venv/bin/nmt ui experiments/complete_journey.yaml": (DEMO, 'the_command(".venv/bin/nmt ui")'),
    "nmt doctor": (IMAGE, "image.final.run(*image.final.command)"),  # CMD of the Dockerfile
    "nmt doctor experiment.yaml --address http://HOST:8265": (CLUSTER, 'of_readme("nmt doctor experiment.yaml")'),
    "nmt submit sweep experiment.yaml --address http://HOST:8265": (
        CLUSTER,
        'of_readme("nmt submit sweep experiment.yaml --address http://HOST")',
    ),
    "nmt submit status --address http://HOST:8265": (CLUSTER, 'of_readme("nmt submit status")'),
}
"""Command → the file of the test that gives it, and the words with which it takes the command from the document."""

CANNOT = {
    "has places that a reader fills in": (
        *("nmt plan FILE", "nmt run FILE", "nmt sweep FILE", "nmt grid FILE", "nmt compare FILE", "nmt data …"),
        *("nmt reproduce WHAT", "nmt sync [FILE]", "nmt submit VERB FILE --address …", "nmt ui [FILE]"),
        *("nmt doctor [FILE]", "nmt submit VERB FILE --log-format json"),
    ),
    "names a command, and leaves out what it needs": (
        *("nmt plan", "nmt compare", "nmt sync", "nmt data prepare --no-ray", "nmt data prepare --ray"),
        *("kubectl apply -k", "ray up"),
    ),
    "wants data that are not shipped": (
        "nmt run experiments/toxcast.yaml --set data.path=toxcast64.parquet",
        "nmt run experiments/toxcast_levels.yaml --set data.path=toxcast64.parquet",
        "python -m experiments.benchmarks.kuairand_priority kuairand.parquet --seeds 5 --variants",
    ),
    "takes from many minutes to hours": (
        "nmt reproduce table1",
        "nmt compare experiments/complete_journey.yaml --limit 18",
        "python -m experiments.benchmarks",
        "python -m experiments.benchmarks run",
        "python -m experiments.benchmarks step tasks --json found.json",
        "python -m experiments.benchmarks.cost_table FILE",
        "python -m tests.drill",
        "python -m experiments.benchmarks.prepare_throughput",
        "python -m experiments.benchmarks.stream_ingest FOLDER --gigabytes 20 --distinct 2",
    ),
    "wants a container engine, or a registry": (
        "docker build -f infra/image/Dockerfile -t registry.example.com/no-more-tuning:0.1.0 .",
        "docker push registry.example.com/no-more-tuning:0.1.0",
        "docker compose -f infra/mlflow/compose.yaml up --build --detach",
        # MLflow as Docker Compose starts it.
        "nmt compare experiments/complete_journey.yaml --limit 18 --set tracking=http://localhost:5000",
    ),
    "wants a Kubernetes cluster": (
        "helm repo add kuberay https://ray-project.github.io/kuberay-helm/",
        "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.1 --namespace kuberay-system "
        "--create-namespace",
        "kubectl apply -f infra/kubernetes/namespace.yaml",
        'kubectl -n nmt create secret generic nmt-ray-token --from-literal=auth_token="$(openssl rand -hex 32)"',
        "kubectl -n nmt create secret generic nmt-tracking --from-literal=username=nmt "
        '--from-literal=password="$(openssl rand -hex 16)"',
        "kubectl -n nmt create secret generic nmt-mlflow "
        '--from-literal=postgres-password="$(openssl rand -hex 24)" '
        '--from-literal=admin-password="$(openssl rand -hex 16)" '
        '--from-literal=flask-secret-key="$(openssl rand -hex 32)"',
        "kubectl -n nmt create secret generic nmt-s3 --from-literal=access-key-id=… --from-literal=secret-access-key=…",
        "kubectl apply -k infra/kubernetes/mlflow",
        "kubectl -n nmt rollout status deployment/mlflow",
        "kubectl -n nmt port-forward service/mlflow 5000 &",
        # tests/orchestrator/tracking/test_mlflow_server.py sends the same request.
        'curl --fail --user "admin:$(value nmt-mlflow admin-password)" '
        "-H 'Content-Type: application/json' "
        r'-d "{\"username\": \"nmt\", \"password\": \"$(value nmt-tracking password)\"}" '
        "http://localhost:5000/api/2.0/mlflow/users/create",
        "kubectl apply -k infra/kubernetes/job/cpu",
        "kubectl -n nmt get rayjob nmt-compare --watch",
        "kubectl -n nmt logs --selector ray.io/node-type=head --container ray-head --follow",
        "kubectl apply -k infra/kubernetes/ray/cpu",
        "kubectl -n nmt port-forward service/nmt-head-svc 8265 &",
        "kubectl -n nmt port-forward service/nmt-head-svc 8265",
        "kubectl -n nmt exec svc/nmt-head-svc -- sh -c 'cat /tmp/ray/session_latest/logs/job-driver-*.log' | "
        """jq -R -r 'fromjson? | select(.event == "stage_finished") | [.time, .trial, .stage, .held, .wall_seconds] """
        "| @tsv'",
        "nmt submit sweep experiment.yaml --address http://localhost:8265 "
        "--set storage=/shared/nmt-runs --set tracking=http://mlflow:5000",
        "ray job submit --address http://localhost:8265 --working-dir . -- nmt sweep experiment.yaml",
    ),
    "wants machines that are reached with SSH": (
        "ray up infra/ray-cluster/on-premise.yaml",
        "ray dashboard infra/ray-cluster/on-premise.yaml",
        "ray exec infra/ray-cluster/on-premise.yaml 'nmt compare /shared/experiment.yaml --address auto\n"
        "  --set storage=/shared/nmt-runs --set tracking=http://mlflow.example.com:5000'",
    ),
}
"""Why → commands that cannot be given here. Their words are read all the same: see ``test_documents.py``."""
