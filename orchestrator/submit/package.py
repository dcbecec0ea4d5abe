"""The package of a job: project, experiment, the user's own modules and requirements, in one zip without secrets."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.own_code import PROJECT
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.experiment.yaml_reader import write_yaml
from nmt.orchestrator.submit import own_modules
from nmt.orchestrator.submit.ignore_rules import IgnoreRules
from nmt.orchestrator.submit.requirements import REQUIREMENTS, Requirements
from nmt.orchestrator.submit.secret_scan import find_secret, known_secrets

EXPERIMENT, PINS = "experiment.yaml", "requirements.txt"
"""Names of the files that are generated for the job."""

LIMIT = 100 * 2**20
"""Most bytes that Ray's job server accepts in one upload; its client assumes 512 MiB."""

ROOMS = ("trainers", "orchestrator", "experiments")
"""Packages below :data:`~nmt.orchestrator.experiment.own_code.PROJECT`, which every job gets."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_OF_ROOMS = (".py", ".yaml", ".typed", ".jinja", ".css")


@dataclass(frozen=True)
class Package:
    """Files of a job.

    Attributes:
        files: Path in the package → content.
    """

    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Hash of all paths and contents, the same on any machine."""
        whole = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            whole.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        return whole.hexdigest()

    def write(self, path: Path) -> None:
        """Write the package as one zip file, with the same bytes for the same files.

        Raises:
            RequestError: It is larger than Ray's job server accepts.
        """
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(self.files.items()):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
            sizes = sorted(((entry.compress_size, entry.filename) for entry in archive.infolist()), reverse=True)
        size = path.stat().st_size
        if size > LIMIT:
            largest = ", ".join(f"{name} ({_mebibytes(packed)})" for packed, name in sizes[:5])
            raise RequestError(
                f"the package for the cluster has {_mebibytes(size)}, and Ray's job server accepts at most "
                f"{_mebibytes(LIMIT)}; its largest files: {largest}; keep data on storage that the cluster reads "
                "(data.path), and list what is not needed in .rayignore or .gitignore"
            )


def pack(experiment: Experiment, requirements: Requirements, include: Sequence[str] = ()) -> Package:
    """Collect the files of a job.

    Args:
        experiment: The experiment, overrides applied.
        requirements: Packages that the cluster must have.
        include: Further files and folders below the current folder.

    Raises:
        RequestError: A module or a path to include does not exist, or a file holds a secret.
    """
    sources = _rooms()
    places = list(own_modules.find(experiment).places)
    here = Path.cwd().resolve()
    for name in include:
        place = Path(name).resolve()
        if here not in place.parents or not place.exists():
            raise RequestError(f"--include {name}: give a file or folder below {here}")
        places.append((place, here))
    ignored = {root: IgnoreRules(root) for _, root in places}
    for place, root in places:
        for path in ignored[root].files(place):
            name = path.relative_to(root).as_posix()
            if sources.setdefault(name, path) != path and sources[name].resolve() != path.resolve():
                raise RequestError(
                    f"{path} and {sources[name]} would have the same path {name} on the cluster; rename one of them"
                )
    files = {name: path.read_bytes() for name, path in sources.items()}
    if clash := sorted({EXPERIMENT, REQUIREMENTS, PINS} & set(files)):
        raise RequestError(f"--include {clash[0]}: the package already has a file of this name; rename yours")
    files[EXPERIMENT] = write_yaml(experiment.model_dump(mode="json")).encode()
    files[REQUIREMENTS] = json.dumps(requirements.to_dict(), indent=1, sort_keys=True).encode()
    files[PINS] = "".join(f"{pin}\n" for pin in requirements.pins).encode()
    _refuse_secrets(files, sources)
    return Package(files)


def _rooms() -> dict[str, Path]:
    """Return the files of the project itself, as ``nmt/…``, from where it is installed; no pictures."""
    found = {}
    for package in (PROJECT, *(f"{PROJECT}.{room}" for room in ROOMS)):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RequestError(f"the package {package} is not installed as a folder here, so it cannot be sent")
        folder = Path(next(iter(spec.submodule_search_locations))).resolve()
        for path in IgnoreRules(folder.parent, with_ignore_files=False).files(folder):
            if path.suffix in _OF_ROOMS:
                found[f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}"] = path
    return found


def _refuse_secrets(files: Mapping[str, bytes], sources: Mapping[str, Path]) -> None:
    known = known_secrets()
    problems = [
        f"{sources.get(name, name)} {what}"
        for name, content in files.items()
        if (what := find_secret(name, content, known))
    ]
    if problems:
        raise RequestError(
            "nothing was sent, because everybody with access to the cluster could read these secrets:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nlist such a file in .gitignore or .rayignore, and set the secret in the cluster's own environment (a "
            "Kubernetes secret, an instance role); mark a false alarm in its line: # pragma: allowlist secret"
        )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
