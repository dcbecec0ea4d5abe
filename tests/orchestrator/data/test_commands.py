"""The command ``nmt data``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from nmt.experiments.data import tiktok
from nmt.orchestrator.cli.app import app
from nmt.orchestrator.data.block_progress import BlockProgress
from nmt.orchestrator.data.sources import SOURCES, find
from nmt.orchestrator.errors import RequestError
from nmt.trainers.data.prepared import read_schema


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["data", *arguments])
    if isinstance(result.exception, RequestError):
        raise result.exception
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A thousand rows in TikTok's format, and a broken one."""
    rng = np.random.default_rng(0)
    path = tmp_path / tiktok.FILE
    rows = [[*rng.integers(0, 20, 6), number % 2, number % 3 % 2, *rng.integers(0, 20, 4)] for number in range(1000)]
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows) + "broken\n")
    return path


def test_list() -> None:
    found = json.loads(run("list", "--json").stdout)["sources"]
    assert [source["name"] for source in found] == list(SOURCES)
    assert all(source["about"] and source["input"] for source in found)
    assert "qk_video" in run("list").stdout


def test_prepare_and_describe(file: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = run("prepare", "tiktok", str(file), out, "--json", "-o", "min_count=2")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["rows"] == {"train": 810, "valid": 90, "test": 100}
    assert (document["report"]["lines"], document["report"]["damaged"]) == (1001, 1)
    assert not document["on_ray"]
    assert "encode: 1 of 1 blocks" in result.stderr
    assert "line 1001: 1 fields instead of 12" in result.stderr.replace("\n", " ")
    result = run("describe", out, "--json")
    described = json.loads(result.stdout)
    assert result.exit_code == 0
    assert described["labels"]["finish"]["train"]["mean"] == pytest.approx(0.5, abs=0.05)
    assert described["conflicts"][0]["tasks"] == ["like", "finish"]
    assert described["report"]["damaged"] == 1
    shown = run("describe", out).stdout
    assert "rate of like" in shown
    assert "like and finish" in shown


def test_describe_refuses_with_status_2(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("prepare", "tiktok", str(file), str(out))
    (part,) = (out / "train").iterdir()
    table = pq.read_table(part)
    zeros = pa.array(np.zeros(table.num_rows, np.float32))
    pq.write_table(table.set_column(table.column_names.index("like"), "like", zeros), part)
    result = run("describe", str(out), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"] == [
        "label 'like' of split 'train' is 0 in every row; there is nothing to learn from one class"
    ]
    assert "cannot be trained on" in result.stderr


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("tiktak", [], r"no data source 'tiktak' \(did you mean 'tiktok'\?\)"),
        ("no.module", [], "cannot be imported"),
        ("experiments.data.tiktok:nothing", [], "has no function 'nothing'"),
        ("tiktok", ["mincount=3"], r"unknown key 'mincount' of options of tiktok \(did you mean 'min_count'"),
        ("tiktok", ["min_count"], "is not of the form KEY=VALUE"),
        ("tiktok", ["min_count=[1"], "the value is not valid YAML"),
        ("tiktok", ["max_damaged=0"], r"1 of 1,001 lines are damaged"),
        ("table", [], "options of table lack labels"),
        ("adult", [], "no file that ends in|cannot be read as Parquet"),
    ],
)
def test_wrong_requests_leave_nothing_behind(
    file: Path, tmp_path: Path, source: str, options: list[str], message: str
) -> None:
    words = [word for option in options for word in ("--option", option)]
    with pytest.raises(RequestError, match=message):
        run("prepare", source, str(file), str(tmp_path / "out"), *words)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_an_existing_output_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="exists already"):
        run("prepare", "tiktok", str(file), str(tmp_path))


def test_a_source_that_prepares_in_one_process(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    result = run("prepare", "conflict", "-", str(out), "--json")
    assert json.loads(result.stdout)["report"] is None
    assert read_schema(str(out)).rows["train"] > 0
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    with pytest.raises(RequestError, match="leave out --ray"):
        run("prepare", "conflict", "-", str(tmp_path / "other"), "--ray")


def test_every_source_is_found() -> None:
    for name in SOURCES:
        assert find(name).about
    assert find("tiktok").recipe is tiktok.recipe
    assert find("experiments.data.tiktok").recipe is tiktok.recipe
    assert find("experiments.data.tiktok:prepare").recipe is None


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    terminal = io.StringIO()
    with BlockProgress(Console(file=terminal, force_terminal=True, width=100)) as progress:
        assert list(progress.follow("read", iter([1, 2, 3]), 3)) == [1, 2, 3]
    assert "3/3" in terminal.getvalue()
    plain = io.StringIO()
    with BlockProgress(Console(file=plain)) as progress:
        list(progress.follow("read", iter([1, 2, 3]), 3))
    assert plain.getvalue() == "read: 3 of 3 blocks\n"


@pytest.mark.drill
@pytest.mark.ray
@pytest.mark.slow
def test_the_result_is_the_same_on_ray(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.experiments.data.official.text.blocks.BYTES", 5000)
    one = json.loads(run("prepare", "tiktok", str(file), str(tmp_path / "one"), "--json", "--no-ray").stdout)
    other = json.loads(run("prepare", "tiktok", str(file), str(tmp_path / "other"), "--json", "--ray").stdout)
    assert other["on_ray"]
    assert len(list((tmp_path / "other" / "train").iterdir())) > 3
    assert one["fingerprint"] == other["fingerprint"]
    assert one["report"] == other["report"]
    with pytest.raises(RequestError, match=r"1 of 1,001 lines are damaged"):
        run("prepare", "tiktok", str(file), str(tmp_path / "none"), "--ray", "-o", "max_damaged=0")
    assert not (tmp_path / "none").exists()
