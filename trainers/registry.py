"""Registry: names in an experiment file → components.

A built-in component is one line in a table. A user's own is named by its import path ``package.module:callable``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MODELS: Mapping[str, str] = {
    "mmoe": "nmt.trainers.models.mmoe:MMoE",
    "omoe": "nmt.trainers.models.omoe:OMoE",
    "ple": "nmt.trainers.models.ple:PLE",
    "scorer": "nmt.trainers.models.scorer:Scorer",
    "shared_bottom": "nmt.trainers.models.shared_bottom:SharedBottom",
}
"""``model.name`` → an ``nn.Module`` built from ``(schema, tasks, **options)`` that maps a batch to task → output."""

LOSSES: Mapping[str, str] = {
    "binary_cross_entropy": "nmt.trainers.losses.binary_cross_entropy:binary_cross_entropy",
    "cross_entropy": "nmt.trainers.losses.cross_entropy:cross_entropy",
    "pairwise_logistic": "nmt.trainers.losses.pairwise_logistic:pairwise_logistic",
    "squared_error": "nmt.trainers.losses.squared_error:squared_error",
}
"""``loss`` of a task → a function ``(output, label, batch)`` → :class:`nmt.trainers.losses.samples.Samples`."""

METRICS: Mapping[str, str] = {
    "accuracy": "nmt.trainers.metrics.accuracy:Accuracy",
    "auc": "nmt.trainers.metrics.auc:AUC",
    "grouped_auc": "nmt.trainers.metrics.grouped_auc:GroupedAUC",
    "pair_accuracy": "nmt.trainers.metrics.pair_accuracy:PairAccuracy",
    "rmse": "nmt.trainers.metrics.rmse:RootMeanSquaredError",
}
"""``metric`` of a task → a ``torchmetrics.Metric`` whose ``update`` takes ``(output, label, batch)``."""

METRIC_OF_LOSS: Mapping[str, str] = {
    "binary_cross_entropy": "auc",
    "cross_entropy": "accuracy",
    "pairwise_logistic": "pair_accuracy",
    "squared_error": "rmse",
}
"""Loss of a task → its default metric."""


def resolve(kind: str, name: str, table: Mapping[str, str]) -> Callable[..., Any]:
    """Return the component with a name or an import path.

    Args:
        kind: Kind of component, for messages: ``"model"``, ``"loss"``, ….
        name: A name in ``table``, or ``package.module:callable``.
        table: Built-in components.

    Raises:
        ValueError: The name is unknown, the module cannot be imported, or its attribute is missing or not callable.
    """
    path = table.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise ValueError(
            f"unknown {kind} {name!r}{did_you_mean(name, table)}; allowed: {', '.join(table)}, "
            "or your own as 'package.module:callable'"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{kind} {name!r} cannot be imported: {error}; is it on the Python path?") from error
    except Exception as error:  # a user's module can raise anything at import
        raise ValueError(f"{kind} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        component = getattr(module, attribute)
    except AttributeError as error:
        public = [word for word in vars(module) if not word.startswith("_")]
        raise ValueError(
            f"{kind} {name!r}: module {module_name} has no {attribute!r}{did_you_mean(attribute, public)}"
        ) from error
    if not callable(component):
        raise ValueError(f"{kind} {name!r} is a {type(component).__name__}, not a callable")
    return component  # type: ignore[no-any-return]


def check_options(kind: str, component: Callable[..., Any], options: Iterable[str], reserved: Iterable[str]) -> None:
    """Check that a component accepts all options.

    Args:
        kind: Kind and name of the component, for the message.
        component: The callable.
        options: Names of the options in the experiment file.
        reserved: Names of the arguments that the engine passes itself.

    Raises:
        ValueError: An option is unknown; the message lists those allowed.
    """
    parameters = inspect.signature(component).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    taken = set(reserved)
    allowed = [p.name for p in parameters if p.name not in taken]
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"unknown key {option!r} of {kind}{did_you_mean(option, allowed)}; allowed: {', '.join(allowed)}"
            )


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` if a word is similar to one of ``words``, else an empty string."""
    matches = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
