"""Files that are sent to a cluster, and files that never are."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.submit import package
from nmt.orchestrator.submit.ignore_rules import IgnoreRules
from nmt.orchestrator.submit.package import EXPERIMENT, Package, pack
from nmt.orchestrator.submit.requirements import REQUIREMENTS

from ._files import NONE, experiment, fill


def own(files: dict[str, bytes]) -> set[str]:
    """Return the files that are neither the project's nor generated for the job."""
    return {name for name in files if not name.startswith("nmt/")} - {EXPERIMENT, REQUIREMENTS, "requirements.txt"}


class TestWhatIsSent:
    def test_the_project_and_the_experiment_and_nothing_else(self, folder: Path) -> None:
        fill(folder, {"notes.txt": "mine", "other.py": "x = 1", "nmt-runs/stages/a.json": "{}"})
        files = dict(pack(experiment(), NONE).files)
        assert own(files) == set()
        sent = {
            "__init__.py",
            "trainers/multipliers.py",
            "orchestrator/cli/app.py",
            "experiments/complete_journey.yaml",
        }
        sent |= {"orchestrator/comparison/page.html.jinja", "orchestrator/comparison/page.css"}
        assert {f"nmt/{name}" for name in sent} <= set(files)
        assert not [name for name in files if name.endswith((".png", ".pyc"))]
        assert files["requirements.txt"] == b"torch==2.13.0\n"

    def test_the_experiment_is_read_back_as_it_is(self, folder: Path) -> None:
        given = experiment(
            tasks=[
                {"name": "a", "loss": "squared_error"},
                [{"name": "b", "loss": "squared_error", "tolerance": 0.1}, {"name": "c", "loss": "squared_error"}],
            ],
            scaling={"workers": {"min": 1, "max": 3}},
            training={"eta_lambda": 0.25, "patience": None},
            sweep={"eta_theta": [0.1, 0.2]},
        )
        content = yaml.safe_load(pack(given, NONE).files[EXPERIMENT])
        assert Experiment.model_validate(content) == given

    def test_own_modules_with_the_modules_beside_them_that_they_import(self, folder: Path) -> None:
        fill(
            folder,
            {
                "models.py": "import json\nimport sizes\ndef build(): ...",
                "sizes.py": "def f():\n    from deep.down import g",
                "deep/__init__.py": "",
                "deep/down.py": "import torch",
                "deep/table.csv": "1,2",
                "unused.py": "",
            },
        )
        files = pack(experiment(model={"name": "models:build"}), NONE).files
        assert own(dict(files)) == {"models.py", "sizes.py", "deep/__init__.py", "deep/down.py", "deep/table.csv"}

    def test_losses_metrics_and_sources_are_own_modules_too(self, folder: Path) -> None:
        fill(folder, {"a.py": "", "b.py": "", "c.py": ""})
        given = experiment(
            data={"source": "a", "path": "/shared/raw"},
            tasks=[{"name": "like", "loss": "b:loss", "metric": "c:Metric"}],
        )
        assert own(dict(pack(given, NONE).files)) == {"a.py", "b.py", "c.py"}

    def test_an_unknown_module_is_refused(self, folder: Path) -> None:
        with pytest.raises(RequestError, match="the experiment names the module 'nowhere_at_all', which is neither"):
            pack(experiment(model={"name": "nowhere_at_all:build"}), NONE)

    def test_include_adds_only_files_below_the_current_folder(self, folder: Path) -> None:
        fill(folder, {"conf/a.json": "{}", "conf/b.json": "{}", "elsewhere.txt": ""})
        assert own(dict(pack(experiment(), NONE, ["conf", "elsewhere.txt"]).files)) == {
            "conf/a.json",
            "conf/b.json",
            "elsewhere.txt",
        }
        for wrong in ("missing", "/etc/hostname", ".."):
            with pytest.raises(RequestError, match="give a file or folder below"):
                pack(experiment(), NONE, [wrong])

    def test_an_included_file_does_not_replace_the_experiment(self, folder: Path) -> None:
        fill(folder, {EXPERIMENT: "mine"})
        with pytest.raises(RequestError, match=r"experiment\.yaml: the package already has a file of this name"):
            pack(experiment(), NONE, [EXPERIMENT])


class TestWhatIsLeftOut:
    def test_results_caches_and_files_that_ignore_files_match(self, folder: Path) -> None:
        fill(
            folder,
            {
                ".gitignore": "big/\n*.bin\n!keep.bin\n",
                ".rayignore": "draft.py",
                "p/.gitignore": "local.json",
                **dict.fromkeys(
                    (
                        "p/a.py",
                        "p/local.json",
                        "p/w.bin",
                        "p/keep.bin",
                        "p/draft.py",
                        "p/big/x",
                        "p/__pycache__/a.pyc",
                        "p/.venv/x.py",
                    ),
                    "",
                ),
                **dict.fromkeys(("p/nmt-runs/r", "p/mlruns/m", "p/mlflow.db", "p/mlflow.db-wal", "p/.git/config"), ""),
            },
        )
        found = {path.relative_to(folder).as_posix() for path in IgnoreRules(folder).files(folder / "p")}
        assert found == {"p/.gitignore", "p/a.py", "p/keep.bin"}

    def test_ignore_files_above_count_up_to_the_repository(self, tmp_path: Path) -> None:
        fill(tmp_path, {"repo/.git/HEAD": "", "repo/.gitignore": "secret.py", ".gitignore": "b.py"})
        fill(tmp_path, {"repo/work/secret.py": "", "repo/work/b.py": ""})
        work = tmp_path / "repo" / "work"
        assert [path.name for path in IgnoreRules(work).files(work)] == ["b.py"]


class TestTheArchive:
    def test_same_files_same_bytes_and_digest(self, tmp_path: Path) -> None:
        first, second = Package({"a": b"1", "b": b"2"}), Package({"b": b"2", "a": b"1"})
        first.write(tmp_path / "1.zip")
        second.write(tmp_path / "2.zip")
        assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
        assert first.digest == second.digest != Package({"a": b"1", "b": b"3"}).digest
        with zipfile.ZipFile(tmp_path / "1.zip") as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"1", "b": b"2"}

    def test_a_package_that_is_too_large_is_refused_with_its_largest_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(package, "LIMIT", 2 * 2**20)
        files = {"small.py": b"x", "large.bin": os.urandom(2**20), "larger.bin": os.urandom(3 * 2**20)}
        with pytest.raises(RequestError, match=r"larger\.bin \(3\.0 MiB\), large\.bin \(1\.0 MiB\), small\.py"):
            Package(files).write(tmp_path / "package.zip")

    def test_the_limit_is_that_of_the_job_server(self) -> None:
        from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

        assert package.LIMIT == DASHBOARD_CLIENT_MAX_SIZE

    def test_a_package_runs_alone(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        place = tmp_path_factory.mktemp("unpacked")
        pack(experiment(), NONE).write(place / "package.zip")
        with zipfile.ZipFile(place / "package.zip") as archive:
            archive.extractall(place)
        code = "import nmt.trainers, nmt.experiments.data.conflict, nmt.orchestrator.cli as cli; print(cli.__file__)"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(str(place))
