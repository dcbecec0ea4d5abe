"""The rooms keep apart: who may import whom, and what may stand beside the rooms.

Imports are read from the syntax tree, so an import inside a function, under ``TYPE_CHECKING``, a relative one
and ``importlib.import_module("literal")`` count like any other.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: For each room, the packages that none of its files imports.
FORBIDDEN = {
    "trainers": ("orchestrator", "experiments", "tests", "mlflow", "ray"),
    "experiments": ("orchestrator", "tests", "mlflow", "ray"),
    "orchestrator": ("tests",),
}

#: Measuring the engine needs the engine: the one part of a room that its rule does not bind.
EXEMPT = ("experiments/benchmarks/",)

#: The algorithm serves in anybody's loop: these files import torch, the standard library and each other, nothing else.
ALGORITHM = ("trainers/multipliers.py", "trainers/pi_rule.py", "trainers/certificate.py")

ROOMS = {"trainers", "orchestrator", "experiments", "infra", "tests"}
FILES = {
    "pyproject.toml",
    "requirements.lock",
    "Makefile",
    "setup.py",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
}


def module_name(path: Path, root: Path) -> str:
    """``trainers/data/feed.py`` is ``trainers.data.feed``; an ``__init__.py`` has the name of its package."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_dynamic_import(node: ast.Call) -> bool:
    """``__import__(…)``, ``import_module(…)`` and ``importlib.import_module(…)``."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name in {"__import__", "import_module"}


def imports(path: Path, root: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each import of a file as (line, names), the names absolute; ``nmt.trainers.data`` is ``trainers.data``.

    ``from a import b`` may mean the module ``a.b`` or the object ``b`` of ``a``: it gives both, ``("a", "a.b")``.
    """
    for line, names in written_imports(path, root):
        yield line, tuple(name.removeprefix("nmt.") for name in names)


def written_imports(path: Path, root: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The same, by the names that are written."""
    module = module_name(path, root)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, (alias.name,)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield node.lineno, (base, f"{base}.{alias.name}".lstrip("."))
        elif isinstance(node, ast.Call) and is_dynamic_import(node) and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node.lineno, (target.value,)


def within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def room_violations(root: Path) -> list[str]:
    """Imports that cross a wall, as ``file:line imports name``."""
    found = []
    for room, forbidden in FORBIDDEN.items():
        for path in sorted((root / room).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            if place.startswith(EXEMPT):
                continue
            for line, names in imports(path, root):
                if any(within(name, forbidden) for name in names):
                    found.append(f"{place}:{line} imports {names[-1]}")
    return found


def algorithm_violations(root: Path, files: Sequence[str] = ALGORITHM) -> list[str]:
    """Imports of the algorithm's files beyond torch, the standard library and each other."""
    siblings = [module_name(root / place, root) for place in files]
    found = []
    for place in files:
        for line, names in imports(root / place, root):
            outside = names[0].split(".")[0] not in {"torch", *sys.stdlib_module_names}
            if outside and not any(name in siblings for name in names):
                found.append(f"{place}:{line} imports {names[-1]}")
    return found


def modules(root: Path) -> dict[str, Path]:
    """Dotted name → file, of the rooms with code."""
    found = sorted(path for room in FORBIDDEN for path in (root / room).rglob("*.py"))
    return {module_name(path, root): path for path in found}


def import_graph(root: Path) -> dict[str, set[str]]:
    """Module → modules of the rooms that it imports, also inside functions; without the :data:`EXEMPT` ones."""
    known = {
        name: path for name, path in modules(root).items() if not path.relative_to(root).as_posix().startswith(EXEMPT)
    }
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = {next((t for t in reversed(names) if t in known), None) for _, names in imports(path, root)}
        graph[name] = {target for target in targets if target is not None and target != name}
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, smallest names first."""

    def reach(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for target in graph.get(waiting.pop(), ()):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    reached = {node: reach(node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached.get(other, ())) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def folder_circles(root: Path) -> list[str]:
    """Circles of imports between folders.

    Two readings of "between folders" are both checked: each folder with the files that lie flat in it is one node, and
    within each folder every file and every folder, with all below it, is one node.
    """
    graph = import_graph(root)
    packages = {name for name, path in modules(root).items() if path.name == "__init__.py"}

    def folder(name: str) -> str:
        return name if name in packages else name.rpartition(".")[0]

    def merged(place: Callable[[str], str | None]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, targets in graph.items():
            here = place(name)
            for target in targets:
                there = place(target)
                if here is not None and there is not None and here != there:
                    found.setdefault(here, set()).add(there)
        return found

    def child(parent: str) -> Callable[[str], str | None]:
        depth = parent.count(".") + 2

        def place(name: str) -> str | None:
            return ".".join(name.split(".")[:depth]) if name.startswith(f"{parent}.") else None

        return place

    found = [f"folders import each other: {', '.join(circle)}" for circle in circles(merged(folder))]
    for parent in sorted({folder(name) for name in graph} | set(FORBIDDEN)):
        found += [
            f"in {parent} these import each other: {', '.join(circle)}" for circle in circles(merged(child(parent)))
        ]
    return found


def crowded_folders(root: Path, most: int = 16) -> list[str]:
    """Folders with more than so many modules flat."""
    counts = Counter(
        path.parent.relative_to(root).as_posix() for path in modules(root).values() if path.name != "__init__.py"
    )
    return [f"{folder} has {count} modules" for folder, count in sorted(counts.items()) if count > most]


def top_level(root: Path) -> set[str]:
    """What stands at the top: everything git tracks, or, outside a repository, everything not left behind by a run."""
    git = shutil.which("git")
    if git is not None and (root / ".git").exists():
        listing = subprocess.run([git, "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
        if listing.returncode == 0 and listing.stdout:
            return {name.split("/")[0] for name in listing.stdout.split("\0") if name}
    left_behind = {"__pycache__", "build", "dist", "nmt-runs", "mlruns", "mlartifacts", "mlflow.db"}
    return {path.name for path in root.iterdir() if path.name not in left_behind and path.suffix != ".egg-info"}


def test_rooms_are_imported_below_the_one_name() -> None:
    """A user's own folder ``trainers/`` beside an experiment file would hide what is imported by that name."""
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {names[0]}"
        for room in FORBIDDEN
        for path in (ROOT / room).rglob("*.py")
        for line, names in written_imports(path, ROOT)
        if within(names[0], tuple(FORBIDDEN))
    ]
    assert found == []


def test_no_import_crosses_a_wall() -> None:
    assert room_violations(ROOT) == []


def test_the_algorithm_imports_nothing_but_torch() -> None:
    assert algorithm_violations(ROOT) == []


def test_no_folders_import_each_other() -> None:
    assert folder_circles(ROOT) == []


def test_no_folder_is_crowded() -> None:
    assert crowded_folders(ROOT) == []


def test_nothing_else_stands_at_the_top() -> None:
    assert {name for name in top_level(ROOT) if not name.startswith(".")} <= ROOMS | FILES


def test_importing_the_algorithm_loads_no_engine() -> None:
    heavy = ["ray", "mlflow", "pyarrow", "pandas", "nmt.orchestrator"]
    program = (
        "import sys, nmt.trainers\n"
        "from nmt import Multipliers\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def plant(root: Path, place: str, code: str) -> None:
    """Write a file, and an ``__init__.py`` in every folder above it."""
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in path.relative_to(root).parents[:-1]:
        (root / folder / "__init__.py").touch()
    path.write_text(code, encoding="utf-8")


class TestTheCheckerItself:
    """A checker that cannot fail checks nothing: each of these planted imports is found."""

    @pytest.mark.parametrize(
        ("place", "code"),
        [
            ("trainers/loop.py", "import nmt.orchestrator"),
            ("trainers/loop.py", "import os, mlflow.tracking"),
            ("trainers/loop.py", "from ray import train"),
            ("trainers/loop.py", "def step():\n    from ray.train.torch import prepare_model"),
            ("trainers/loop.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray.tune"),
            ("trainers/loop.py", "import importlib\nimportlib.import_module('experiments.data')"),
            ("trainers/loop.py", "try:\n    __import__('mlflow')\nexcept ImportError:\n    pass"),
            ("trainers/data/feed.py", "from ...orchestrator import plan"),
            ("trainers/__init__.py", "from ..experiments import data"),
            ("trainers/loop.py", "from .. import orchestrator"),
            ("experiments/data/census.py", "import ray.data"),
            ("experiments/figures.py", "from nmt.orchestrator.verbs.compare import table"),
            ("orchestrator/verbs/plan.py", "from tests import asserts"),
        ],
    )
    def test_finds_an_import_that_crosses_a_wall(self, tmp_path: Path, place: str, code: str) -> None:
        plant(tmp_path, place, code)
        found = room_violations(tmp_path)
        assert len(found) == 1
        assert found[0].startswith(f"{place}:")

    @pytest.mark.parametrize(
        ("place", "code"),
        [
            ("trainers/loop.py", "import torch, numpy, rayon, mlflowish"),
            ("trainers/loop.py", "from . import multipliers\nfrom .data import feed"),
            ("trainers/loop.py", "# import ray\ntext = 'import mlflow'"),
            ("experiments/data/census.py", "from nmt.trainers.data import schema"),
            ("experiments/benchmarks/scaling.py", "import ray\nfrom orchestrator import plan"),
            ("orchestrator/verbs/plan.py", "import ray, mlflow, trainers, experiments"),
        ],
    )
    def test_lets_the_allowed_ones_pass(self, tmp_path: Path, place: str, code: str) -> None:
        plant(tmp_path, place, code)
        assert room_violations(tmp_path) == []

    @pytest.mark.parametrize(
        "code",
        [
            "import numpy",
            "def f():\n    import scipy.optimize",
            "from nmt.trainers.data import feed",
            "from . import checkpoint",
            "from .checkpoint import save",
            "from nmt import Multipliers",
        ],
    )
    def test_finds_what_the_algorithm_must_not_import(self, tmp_path: Path, code: str) -> None:
        plant(tmp_path, "trainers/multipliers.py", code)
        assert len(algorithm_violations(tmp_path, ("trainers/multipliers.py",))) == 1

    @pytest.mark.parametrize(
        "code",
        [
            "from __future__ import annotations\nimport math\nimport torch.nn.functional as F",
            "from torch import Tensor, nn",
            "from nmt.trainers.weights import combine",
            "from . import weights",
            "from .weights import combine",
        ],
    )
    def test_lets_the_algorithm_import_torch_and_itself(self, tmp_path: Path, code: str) -> None:
        files = ("trainers/multipliers.py", "trainers/weights.py")
        plant(tmp_path, files[0], code)
        plant(tmp_path, files[1], "import torch")
        assert algorithm_violations(tmp_path, files) == []

    @pytest.mark.parametrize(
        ("files", "named"),
        [
            (
                {
                    "orchestrator/plans/plan.py": "from nmt.orchestrator.costs import cost",
                    "orchestrator/costs/cost.py": "import nmt.orchestrator.plans.plan",
                },
                "folders import each other: orchestrator.costs, orchestrator.plans",
            ),
            (
                {
                    "trainers/a/one.py": "def f():\n    from ..b.two import x",
                    "trainers/b/two.py": "from nmt.trainers.c import three",
                    "trainers/c/three.py": "from nmt.trainers.a import one",
                },
                "folders import each other: trainers.a, trainers.b, trainers.c",
            ),
            (
                {
                    "trainers/a/one.py": "from nmt.trainers.a.below import two",
                    "trainers/a/below/two.py": "from nmt.trainers.a import three",
                    "trainers/a/three.py": "",
                },
                "folders import each other: trainers.a, trainers.a.below",
            ),
            (
                {
                    "trainers/a/one.py": "import nmt.trainers.b.two",
                    "trainers/b/two.py": "",
                    "trainers/b/below/three.py": "import nmt.trainers.a.one",
                },
                "in trainers these import each other: trainers.a, trainers.b",
            ),
        ],
    )
    def test_finds_folders_that_import_each_other(self, tmp_path: Path, files: dict[str, str], named: str) -> None:
        for place, code in files.items():
            plant(tmp_path, place, code)
        assert named in folder_circles(tmp_path)

    def test_lets_files_of_a_folder_import_each_other_one_way(self, tmp_path: Path) -> None:
        plant(tmp_path, "trainers/a/one.py", "from nmt.trainers.a import two\nfrom nmt.trainers.b import three")
        plant(tmp_path, "trainers/a/two.py", "from nmt.trainers.b import three")
        plant(tmp_path, "trainers/b/three.py", "import torch")
        assert folder_circles(tmp_path) == []

    def test_sees_a_crowded_folder(self, tmp_path: Path) -> None:
        for number in range(17):
            plant(tmp_path, f"trainers/a/file{number}.py", "")
        assert crowded_folders(tmp_path) == ["trainers/a has 17 modules"]

    def test_sees_a_folder_too_many(self, tmp_path: Path) -> None:
        (tmp_path / "utils").mkdir()
        (tmp_path / "README.md").touch()
        assert top_level(tmp_path) - ROOMS - FILES == {"utils"}
