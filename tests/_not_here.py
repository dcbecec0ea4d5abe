"""Commands of the pages that ``test_documents.py`` does not run: those that another test runs, and the rest.

All of them are parsed: by bash, by the parser of ``nmt`` or of the Python module, and by the names of their files.
"""

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
"""Command → the file of the test that runs it, and the words with which that test takes it from the page."""

CANNOT = {
    "starts Ray, as the tests of the verbs do on smaller data": (
        "nmt run my.yaml",
        "nmt run my.yaml --set training.max_epochs=1",
    ),
    "needs a trained model, as tests/orchestrator/api trains one": (
        "nmt export my.yaml model",
        "nmt export my.yaml served --mlflow",
        "nmt predict model new.parquet predictions.parquet --keep user",
        "nmt predict models:/ranker@champion new.parquet predictions.csv --tracking sqlite:///mlflow.db",
        "nmt evaluate model my.parquet --where split=test",
        "nmt register my.yaml --name ranker --alias champion",
        "nmt refresh my.yaml --name ranker --alias champion",
    ),
    "needs data that are not shipped": (
        "nmt run experiments/toxcast.yaml --set data.path=toxcast64.parquet",
        "nmt run experiments/toxcast_levels.yaml --set data.path=toxcast64.parquet",
        "nmt reproduce table1 --source kuairand --data kuairand.parquet --seeds 3",
        "python -m experiments.benchmarks promise experiments/kuairand.yaml --set data.path=kuairand.parquet --seeds 8",
        "python -m experiments.benchmarks refresh_days experiments/kuairand.yaml --set data.path=kuairand.parquet "
        "--by date",
    ),
    "takes from many minutes to hours": (
        "nmt reproduce table1",
        "nmt reproduce table3 --seeds 3",
        "nmt compare experiments/complete_journey.yaml --limit 18",
        "python -m experiments.benchmarks",
        "python -m experiments.benchmarks run",
        "python -m experiments.benchmarks step tasks --json found.json",
        "python -m experiments.benchmarks.predict_throughput",
        "python -m experiments.benchmarks.prepare_throughput",
        "python -m tests.drill",
    ),
    "needs the MLflow that Docker Compose starts": (
        "nmt compare experiments/complete_journey.yaml --limit 18 --set tracking=http://localhost:5000",
    ),
    "needs the cluster that Kubernetes starts": (
        "nmt submit sweep experiment.yaml --address http://localhost:8265 "
        "--set storage=/shared/nmt-runs --set tracking=http://mlflow:5000",
    ),
    "needs the token of a cluster": ("export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=…",),
    "names a verb that works on whatever is in the current folder": ("nmt sync", "nmt ui"),
    "would change the user's settings": ("pip config list", "pip config set"),
}
"""Why a command cannot be run here → the commands."""

PROGRAMS = {
    "kubectl": "needs a Kubernetes cluster",
    "helm": "needs a Kubernetes cluster",
    "curl": "needs the MLflow of a cluster",  # tests/orchestrator/tracking/test_mlflow_server.py sends the same request
    "docker": "needs a container engine, and a registry",
    "ray": "needs machines that are reached with SSH, or a cluster",
    "mlflow": "needs a real database",
}
"""Program that cannot be run here → why."""
