"""A trained model as an MLflow model: logged to the run of its chain, written to a folder, registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array

from nmt.orchestrator.errors import RequestError, RunError, first_line
from nmt.orchestrator.experiment.model_address import at_store
from nmt.orchestrator.experiment.own_code import places_of
from nmt.orchestrator.models.alias import check_alias, unheld
from nmt.orchestrator.models.finished import program_version
from nmt.orchestrator.tracking.names import valid_key
from nmt.trainers.export.model_folder import TrainedModel

CODE = Path(__file__).with_name("served_model.py")

NAME = "model"
"""Name of the model in its run."""

_MODEL, _STAGE = "nmt.model", "nmt.model_stage"
"""Tags of a chain's run: address of its model, and key of the stage that the model ends."""

_PINNED = ("torch", "numpy", "pyarrow", "pandas", "pydantic", "torchmetrics")


def signature_of(model: TrainedModel) -> ModelSignature:
    """Return what the model takes and gives: raw columns, all of them optional, and one column per task."""
    encoder = model.encoder
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(_type_of(column.type), name, required=False) for name, column in encoder.categorical.items()
    ]
    inputs += [ColSpec(DataType.double, name, required=False) for name in encoder.numeric]
    inputs += [ColSpec(DataType.binary, name, required=False) for name in encoder.packed]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(Array(DataType.float) if answer == "class probabilities" else DataType.float, name)
        for name, answer in model.answers.items()
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def requirements() -> list[str]:
    """Return the packages that a prediction needs, in the versions of this machine."""
    return [f"no-more-tuning=={program_version()}", *(f"{name}=={_public(version(name))}" for name in _PINNED)]


@contextmanager
def arguments_of(model: TrainedModel, example: Any = None) -> Iterator[dict[str, Any]]:
    """Yield what ``mlflow.pyfunc.log_model`` and ``save_model`` take; the model's files exist inside the block.

    Args:
        model: The model.
        example: Some raw rows, as a ``DataFrame``.

    A network of the user's own travels with the model, with what it imports from the user's own files.
    """
    with TemporaryDirectory(prefix="nmt-model-") as temporary:
        model.write(Path(temporary) / NAME)
        yield {
            "python_model": str(CODE),
            "artifacts": {"model": str(Path(temporary) / NAME)},
            "signature": signature_of(model),
            "input_example": example,
            "pip_requirements": requirements(),
            **({"code_paths": own} if (own := [str(place) for place in places_of(model.network.name)]) else {}),
            "metadata": {"nmt": {"tasks": [task.name for task in model.tasks], **dict(model.origin)}},
        }


def _type_of(kind: pa.DataType) -> DataType:
    """Type of a raw categorical column. Whole numbers are ``long``: MLflow refuses to narrow what pandas widened."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_boolean(kind):
        return DataType.boolean
    if pa.types.is_integer(kind):
        return DataType.long
    if pa.types.is_floating(kind):
        return DataType.double
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return DataType.datetime
    return DataType.binary if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) else DataType.string


def _public(text: str) -> str:
    return text.partition("+")[0]


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: Name of the registered model.
        version: Number of the version.
        alias: Alias that now points to it, or ``None``.
        run_id: Run of the chain.
        uri: Address to load it by.
        live: How it stands to the live model that its chain protected, if any.
    """

    name: str
    version: str
    alias: str | None
    run_id: str
    uri: str
    live: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


def log_model(tracking: str, run_id: str, model: TrainedModel, example: Callable[[], Any] = lambda: None) -> str:
    """Log a model to the run of its chain; return its address.

    A model is logged once in an experiment: another run of the same chain refers to it.

    Args:
        tracking: Tracking URI.
        run_id: Run of the chain.
        model: The model.
        example: Returns some raw rows, as a ``DataFrame``, or ``None``; called where the model is not there yet.

    Raises:
        RunError: The tracking store does not take it.
    """
    with without_warnings():  # MLflow warns of type hints of its own
        import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    key = str(model.origin["stage_key"])
    try:
        client = MlflowClient(tracking)
        run = client.get_run(run_id)
        if run.data.tags.get(_STAGE) == key and _is_there(client, run.data.tags[_MODEL]):
            return str(run.data.tags[_MODEL])
        uri = _logged_before(client, run.info.experiment_id, key)
        if uri is not None:
            client.log_outputs(run_id, [LoggedModelOutput(model_id=_id_of(uri), step=0)])
        else:
            with arguments_of(model, example()) as arguments, at_store(tracking), without_warnings():
                # Not pyfunc.log_model: it would open the finished run again, and give it another end. Not without an
                # id: the model would get into whichever experiment this process uses at present.
                made = client.create_logged_model(run.info.experiment_id, NAME, run_id, params=run.data.params)
                info = Model.log(None, mlflow.pyfunc, run_id=run_id, model_id=made.model_id, **arguments)
            uri = str(info.model_uri)
        client.set_tag(run_id, _MODEL, uri)
        client.set_tag(run_id, _STAGE, key)
        return uri
    except (MlflowException, OSError) as error:
        raise RunError(f"the tracking store does not take the model: {first_line(error)}") from error


def _logged_before(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    """Address of the model that an earlier run of the same chain logged."""
    runs = client.search_runs([experiment_id], f"tags.`{_STAGE}` = '{key}'", order_by=["attributes.start_time ASC"])
    return next((str(uri) for run in runs if _is_there(client, uri := run.data.tags.get(_MODEL))), None)


def _is_there(client: MlflowClient, uri: str | None) -> bool:
    """Whether a logged model exists: people delete them."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    if uri is None:
        return False
    try:
        return bool(client.get_logged_model(_id_of(uri)).status == LoggedModelStatus.READY)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return False


def _id_of(uri: str) -> str:
    return uri.rpartition("/")[2]


def register_model(
    tracking: str,
    run_id: str,
    uri: str,
    model: TrainedModel,
    name: str,
    alias: str | None,
    *,
    although_broken: bool = False,
    although_worse: bool = False,
    live: Mapping[str, Any] | None = None,
) -> Registered:
    """Make a model a version in MLflow's registry, with its guarantees as tags.

    Args:
        tracking: Tracking URI; the registry is there too.
        run_id: Run of its chain.
        uri: Address of the logged model.
        model: The model.
        name: Name of the registered model.
        alias: Alias that shall point to the version.
        although_broken: Register it although a guarantee did not hold.
        although_worse: Register it, and move the alias, although it is worse than the live model.
        live: How it stands to the live model that its chain protected, if any.

    Raises:
        RequestError: A guarantee did not hold, or the alias must not move.
        RunError: The registry does not take it.
    """
    from mlflow import register_model as register
    from mlflow.exceptions import MlflowException

    if alias is not None and not although_worse:
        check_alias(tracking, name, alias, model, live)
    broken, worse = unheld(model.guarantees)
    if worse and not (although_broken or although_worse):
        raise RequestError(
            f"not registered: {', '.join(worse)} is worse than the live model on the validation split by more than the "
            "rule allows; train it longer or allow a tolerance, or give --although-worse"
        )
    if broken and not although_broken:
        raise RequestError(
            f"not registered: {', '.join(broken)} is worse than its optimum on the validation split by more than the "
            "rule allows; train it longer or allow a tolerance, or give --although-broken"
        )
    try:
        client = MlflowClient(tracking, registry_uri=tracking)
        known = client.search_model_versions(f"name = '{name}'")
        same = [found for found in known if found.tags.get("nmt.stage_key") == model.origin["stage_key"]]
        if same:
            made = same[0]
        else:
            tags = {valid_key(key): value for key, value in (tags_of(model) | live_tags_of(live)).items()}
            with at_store(tracking), redirect_stderr(StringIO()):  # it prints what is returned here
                made = register(uri, name, tags=tags)
        if alias is not None:
            client.set_registered_model_alias(name, alias, made.version)
        address = f"models:/{name}/{made.version}"
        return Registered(name, str(made.version), alias, made.run_id or run_id, address, live)
    except (MlflowException, OSError) as error:
        raise RunError(f"the registry does not take the model: {first_line(error)}") from error


def tags_of(model: TrainedModel) -> dict[str, str]:
    """Return a version's tags: where it comes from, and every guarantee in loss and metric on both splits."""
    tags = {f"nmt.{key}": str(value) for key, value in model.origin.items()}
    for task in model.guarantees:
        name = task["task"]
        tags[f"nmt.guarantee.{name}"] = task["guarantee"]["status"]
        for quantity in ("loss", "metric"):
            for split, found in (task["deviation"][quantity] or {}).items():
                label = "loss" if quantity == "loss" else task["metric"]
                tags[f"nmt.deviation.{name}.{label}.{split}"] = f"{found['difference']} ± {found['standard_error']}"
    return tags


def live_tags_of(live: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a version's tags on how it stands to the model that was live when it was trained."""
    if live is None:
        return {}
    tags = {"nmt.against_live": str(live["sentence"])}
    for task in live["tasks"]:
        for split, word in task["standing"].items():
            tags[f"nmt.against_live.{task['task']}.{split}"] = word
    return tags


@contextmanager
def without_warnings() -> Iterator[None]:
    """MLflow warns of inputs that may be integers with gaps; the encoder takes both."""
    import logging
    import warnings

    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
