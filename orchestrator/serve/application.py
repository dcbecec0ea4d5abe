"""The Ray Serve application of one model: ``nmt.orchestrator.serve.application:build`` in a Serve config file."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse

from nmt.orchestrator.models.loading import load_predictor
from nmt.orchestrator.serve.answers import Answer, answer_all, parse_rows

BATCH_REQUESTS = 64
"""Most requests that are answered in one pass."""

BATCH_SECONDS = 0.005
"""Longest that a request waits for others."""


class ServedModel(BaseModel):
    """What to serve: ``args`` of the application.

    Attributes:
        model: A folder, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN/PATH``.
        tracking: MLflow's tracking URI; the environment's when absent.
        device: Where to compute.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1)
    tracking: str | None = None
    device: str = "cpu"


@serve.deployment(
    name="model",
    max_ongoing_requests=2 * BATCH_REQUESTS,
    health_check_period_s=10,
    autoscaling_config={"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": BATCH_REQUESTS // 2},
)
class ModelServer:
    """A replica with the model.

    Args:
        served: What to serve.
    """

    def __init__(self, served: ServedModel) -> None:
        self._predictor = load_predictor(served.model, served.tracking, served.device)

    def check_health(self) -> None:
        """Predict a row without a value; a replica that cannot is replaced."""
        encoder = self._predictor.model.encoder
        row = {name: pa.nulls(1) for name in (*encoder.categorical, *encoder.numeric)}
        row |= {name: pa.array([bytes(bits // 8)]) for name, bits in encoder.packed.items()}
        self._predictor.predict(pa.table(row))

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer a request; 400 where it cannot be read."""
        try:
            rows = parse_rows(await request.json())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        answer: Answer = await self.predict_together(rows)
        return JSONResponse(answer, status_code=400 if "error" in answer else 200)

    @serve.batch(max_batch_size=BATCH_REQUESTS, batch_wait_timeout_s=BATCH_SECONDS)
    async def predict_together(self, requests: list[pa.Table]) -> list[Answer]:
        """Answer the requests that arrived at about the same time."""
        return answer_all(self._predictor, requests)


def build(args: dict[str, Any]) -> Application:
    """Build the application.

    Args:
        args: Values of :class:`ServedModel`.
    """
    application: Application = ModelServer.bind(ServedModel.model_validate(args))  # type: ignore[attr-defined]
    return application
