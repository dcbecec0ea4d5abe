"""The application of infra/serve answers what ``nmt predict`` writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml

from nmt.trainers.export.predictor import Predictor
from tests.orchestrator._server import free_port
from tests.orchestrator.models.test_files import model, table

CONFIG = Path(__file__).parents[3] / "infra" / "serve" / "serve.yaml"


@pytest.mark.ray
@pytest.mark.slow
def test_concurrent_requests_get_the_predictions_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    from nmt.orchestrator.serve.application import build

    config = ServeDeploySchema.model_validate(yaml.safe_load(CONFIG.read_text()))
    (application,) = config.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    assert {deployment.name for deployment in application.deployments} == {"model"}
    model().write(tmp_path / "model")
    rows = table(40).select(["user", "age"])
    expected = Predictor.load(tmp_path / "model").predict(rows).table.to_pylist()
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build({**application.args, "model": str(tmp_path / "model")}), name="ranker", route_prefix="/")
        address = f"http://127.0.0.1:{port}/"

        def ask(row: dict[str, object]) -> dict[str, object]:
            found: dict[str, object] = requests.post(address, json={"dataframe_records": [row]}, timeout=60).json()[
                "predictions"
            ][0]
            return found

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, rows.to_pylist()))
        assert [one == pytest.approx(other, abs=1e-6) for one, other in zip(found, expected, strict=True)] == [
            True
        ] * 40
        refused = requests.post(address, json={"dataframe_records": [{"user": "a"}]}, timeout=60)
        assert refused.status_code == 400
        assert "the data lack age" in refused.json()["error"]
    finally:
        serve.shutdown()
        ray.shutdown()
