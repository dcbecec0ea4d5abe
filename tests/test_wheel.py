"""The built wheel in a clean environment, beside other people's code: it brings one name, and nothing hides it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests._documents import ROOT, files
from tests.orchestrator.api._table import experiment, write_table

HOSTILE = ("trainers", "experiments", "orchestrator")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and with the dependencies of the environment that runs the tests.

    Attributes:
        bin: Its programs.
        folder: A working folder.
    """

    bin: Path
    folder: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; nothing of the repository is on its path."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))}
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done


def pip(*words: str) -> str:
    """Run pip without a network."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([sys.executable, "-m", "pip", *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = tmp_path_factory.mktemp("wheel")
    for name in files():
        (top / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, top / "source" / name)
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(top), str(top / "source"))
    (wheel,) = top.glob("*.whl")
    shutil.rmtree(top / "source")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(top / "venv")], check=True)
    (packages,) = (top / "venv").glob("lib/python*/site-packages")
    # Only the folder: the links of an editable install in it are not followed from here.
    paths = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in paths))
    pip("--python", str(top / "venv/bin/python"), "install", "--quiet", "--no-deps", str(wheel))
    folder = top / "work"
    folder.mkdir()
    for name in HOSTILE:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('the wrong package was imported')\n")
    return Installed(top / "venv" / "bin", folder)


@pytest.mark.slow
def test_the_wheel_brings_one_top_level_name(installed: Installed) -> None:
    shown = pip("--python", str(installed.bin / "python"), "show", "--files", "no-more-tuning")
    listed = [line.strip() for line in shown.partition("Files:\n")[2].splitlines()]
    top = {line.split("/")[0] for line in listed if not line.startswith("..")}
    assert {name for name in top if not name.endswith(".dist-info")} == {"nmt"}
    assert [line for line in listed if line.startswith("..")] == ["../../../bin/nmt"]
    assert {"nmt/py.typed", "nmt/experiments/conflict.yaml", "nmt/orchestrator/comparison/page.css"} <= set(listed)


@pytest.mark.slow
def test_it_is_the_installed_package_that_is_imported(installed: Installed) -> None:
    program = "import nmt, nmt.trainers.registry as r; nmt.Multipliers; print(nmt.__file__); print(r.__file__)"
    found = installed("python", "-c", program).stdout.split()
    assert len(found) == 2
    for place in found:
        assert Path(place).is_relative_to(installed.bin.parent)


@pytest.mark.drill
@pytest.mark.ray
def test_run_predict_and_sweep_beside_folders_of_the_same_names(installed: Installed) -> None:
    write_table(installed.folder)
    (installed.folder / "experiment.yaml").write_text(yaml.safe_dump(experiment()))
    ran = json.loads(installed("nmt", "run", "experiment.yaml", "--json").stdout)
    assert ran["tracking_complete"]
    assert [task["task"] for task in ran["tasks"]] == ["like", "finish"]
    words = ["predict", ran["mlflow_model"], "rows.parquet", "out.csv", "--tracking", "sqlite:///mlflow.db", "--json"]
    assert json.loads(installed("nmt", *words).stdout)["rows"] == 600
    swept = json.loads(installed("nmt", "sweep", "experiment.yaml", "--json").stdout)
    assert {trial["status"] for trial in swept["trials"]} == {"finished"}
    assert len(swept["trials"]) == 2
