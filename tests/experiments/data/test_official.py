"""Official files: synthetic ones in the formats of TikTok and QK-Video."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from nmt.experiments.data import qk_video, tiktok
from nmt.experiments.data.official import preparation, vocabulary
from nmt.experiments.data.official.statistics import merge_statistics
from nmt.experiments.data.official.text import blocks as blocks_module
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import SPLITS

Row = dict[str, object]


def videos(rows: int = 1000, seed: int = 0) -> list[Row]:
    """Return rows of TikTok; ``create_time`` counts the rows."""
    rng = np.random.default_rng(seed)
    return [
        {
            "uid": rng.integers(40),
            "user_city": rng.integers(5),
            "item_id": rng.integers(300),
            "author_id": rng.integers(30),
            "item_city": rng.integers(9) - 1,
            "channel": rng.integers(4),
            "finish": int(rng.random() < 0.4),
            "like": int(rng.random() < 0.1),
            "music_id": rng.integers(20),
            "device_id": number,
            "create_time": 53_000_000_000 + number,
            "video_duration": rng.integers(60),
        }
        for number in range(rows)
    ]


def text(rows: Sequence[Row]) -> str:
    return "".join("\t".join(str(row[name]) for name in tiktok.FIELDS) + "\n" for row in rows)


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / tiktok.FILE
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def indices(rows: int) -> dict[str, list[int]]:
    """Return split → row numbers as scikit-learn splits them, in the order of the file."""
    rest, test = train_test_split(np.arange(rows), test_size=0.1, random_state=42)
    train, valid = train_test_split(rest, test_size=0.1, random_state=42)
    return {name: sorted(part.tolist()) for name, part in zip(SPLITS, (train, valid, test), strict=True)}


def expected_ids(rows: Sequence[Row], name: str, train: Sequence[int], min_count: int) -> list[int]:
    """Compute ids in plain Python."""
    counts = Counter(str(rows[i][name]) for i in train)
    tokens = sorted(token for token, count in counts.items() if count >= min_count)
    places = {token: place for place, token in enumerate(tokens, start=1)}
    return [places.get(str(row[name]), len(tokens) + 1) for row in rows]


def test_tiktok_thousand_rows(tmp_path: Path) -> None:
    rows = videos()
    file = write(tmp_path, text(rows))
    folder = tiktok.prepare(str(file), tmp_path / "cache")
    schema = read_schema(str(folder))
    assert schema.rows == {"train": 810, "valid": 90, "test": 100}
    assert tuple(schema.categorical) == tiktok.CATEGORICAL
    assert not {"user_city", "create_time"} & {*schema.features, *schema.labels}
    assert schema.labels == {"like": 2, "finish": 2}
    where = indices(1000)
    for split in SPLITS:
        written = pq.read_table(folder / split)
        assert set(written.column_names) == {*tiktok.CATEGORICAL, "like", "finish"}
        for name in ("like", "finish"):
            assert written[name].to_pylist() == [rows[i][name] for i in where[split]]
        for name in tiktok.CATEGORICAL:
            ids = expected_ids(rows, name, where["train"], 10)
            assert written[name].to_pylist() == [ids[i] for i in where[split]]


def test_every_row_is_where_scikit_learn_puts_it(tmp_path: Path) -> None:
    """Each row has a token of its own, which identifies it."""
    file = write(tmp_path, text(videos()))
    folder = tiktok.prepare(str(tmp_path), tmp_path / "cache", min_count=1)  # the folder of the file is enough
    words = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    device = {word["id"]: int(word["token"]) for word in words if word["column"] == "device_id"}
    written = pq.read_table(folder / "train")["device_id"].to_pylist()
    assert file.is_file()
    assert [device[number] for number in written] == indices(1000)["train"]
    for split in ("valid", "test"):
        assert set(pq.read_table(folder / split)["device_id"].to_pylist()) == {len(device) + 1}


def test_nine_times_is_oov_and_ten_is_kept(tmp_path: Path) -> None:
    rows = videos()
    where = indices(1000)
    for row in rows:
        row["uid"] = "common"
    for number in where["train"][:9]:
        rows[number]["uid"] = "nine"
    for number in where["train"][9:19]:
        rows[number]["uid"] = "ten"
    for number in where["test"][:20]:
        rows[number]["uid"] = "nine"  # rows of the test split do not count
    folder = tiktok.prepare(str(write(tmp_path, text(rows))), tmp_path / "cache")
    assert read_schema(str(folder)).categorical["uid"] == 4  # PAD, common, ten, OOV
    train = pq.read_table(folder / "train")["uid"].to_pylist()
    assert train[:19] == [3] * 9 + [2] * 10
    assert set(train[19:]) == {1}
    assert pq.read_table(folder / "test")["uid"].to_pylist()[:20] == [3] * 20
    words = [word for word in pq.read_table(folder / "vocabulary.parquet").to_pylist() if word["column"] == "uid"]
    assert words == [
        {"column": "uid", "token": "common", "id": 1, "count": 791},
        {"column": "uid", "token": "ten", "id": 2, "count": 10},
    ]


def test_tokens_are_text(tmp_path: Path) -> None:
    """07 is not 7, and an empty field is a missing token."""
    rows = videos()
    for number, row in enumerate(rows):
        row["uid"] = ["7", "07", "", "é"][number % 4]
    folder = tiktok.prepare(str(write(tmp_path, text(rows))), tmp_path / "cache")
    words = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    assert [word["token"] for word in words if word["column"] == "uid"] == ["07", "7", "é"]
    where = indices(1000)["valid"]
    assert pq.read_table(folder / "valid")["uid"].to_pylist() == [[2, 1, 4, 3][i % 4] for i in where]


def test_small_blocks_and_parts_change_nothing_but_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, text(videos()))
    whole = tiktok.prepare(str(file), tmp_path / "whole")
    monkeypatch.setattr(blocks_module, "BYTES", 3000)
    monkeypatch.setattr(vocabulary, "ROWS_PER_PART", 150)
    small = tiktok.prepare(str(file), tmp_path / "small")
    assert len(list((small / "train").iterdir())) > 10
    for split in SPLITS:
        assert pq.read_table(small / split).equals(pq.read_table(whole / split))
    assert pq.read_table(small / "vocabulary.parquet").equals(pq.read_table(whole / "vocabulary.parquet"))
    assert read_schema(str(small)).categorical == read_schema(str(whole)).categorical


def test_the_order_of_work_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BYTES", 3000)
    recipe = tiktok.recipe(str(write(tmp_path, text(videos()))))

    def backwards(step: str, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return reversed([function(item) for item in reversed(items)])

    preparation.build(recipe, tmp_path / "one")
    preparation.build(recipe, tmp_path / "other", backwards)
    one, other = (read_schema(str(tmp_path / name)) for name in ("one", "other"))
    assert one.fingerprint == other.fingerprint


def test_memory_holds_no_more_than_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a block is held after it, so 16 times as many blocks take no more memory."""
    monkeypatch.setattr(blocks_module, "BYTES", 16_000)
    held: dict[int, int] = {}
    for times in (1, 16):
        before, most = pa.total_allocated_bytes(), [0]

        def watched(step: str, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
            for item in items:
                result = function(item)
                most[0] = max(most[0], pa.total_allocated_bytes() - before)  # noqa: B023
                yield result

        folder = tmp_path / str(times)
        folder.mkdir()
        preparation.build(tiktok.recipe(str(write(folder, text(videos()) * times))), folder / "out", watched)
        held[times] = most[0]
    assert held[16] <= held[1] + 100_000


def test_damaged_lines_are_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BYTES", 3000)
    lines = text(videos(1003)).encode().splitlines(keepends=True)
    lines[4] = b"1\t2\t3\n"
    lines[700] = lines[700].replace(b"\t", b"\t\xff", 1)
    fields = lines[900].split(b"\t")
    lines[900] = b"\t".join([*fields[:6], b"often", *fields[7:]])
    recipe = tiktok.recipe(str(write(tmp_path, b"".join(lines))), max_damaged=0.01)
    report = preparation.build(recipe, tmp_path / "out")
    assert (report.lines, report.damaged) == (1003, 3)
    assert [(damage.line, damage.reason[:20]) for damage in report.first] == [
        (5, "3 fields instead of "),
        (701, "not UTF-8: b'"[:12] + report.first[1].reason[12:20]),
        (901, "finish is 'often', a"),
    ]
    # A thousand undamaged lines remain, split like any other thousand.
    assert read_schema(str(tmp_path / "out")).rows == {"train": 810, "valid": 90, "test": 100}
    assert json.loads((tmp_path / "out" / "preparation.json").read_text())["damaged"] == 3


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "nan", ""])
def test_a_label_that_is_no_class_is_damage(tmp_path: Path, label: str) -> None:
    rows = videos()
    rows[10]["like"] = label
    with pytest.raises(ValueError, match=r"(?s)1 of 1,000 lines are damaged.*allowed are 0\.000%.*line 11: .*like is"):
        preparation.build(tiktok.recipe(str(write(tmp_path, text(rows))), max_damaged=0), tmp_path / "out")


def test_too_much_damage_leaves_nothing_behind(tmp_path: Path) -> None:
    file = write(tmp_path, text(videos()) + "broken\n" * 2)
    with pytest.raises(ValueError, match=r"2 of 1,002 lines are damaged, allowed are 0\.100%.*\n.*line 1001: 1 fields"):
        preparation.build(tiktok.recipe(str(file)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [tiktok.FILE]
    assert preparation.build(tiktok.recipe(str(file), max_damaged=0.01), tmp_path / "out").damaged == 2


def test_a_hopeless_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BYTES", 3000)
    recipe = tiktok.recipe(str(write(tmp_path, "broken\n" * 100_000)))
    worked = []

    def counted(step: str, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        for item in items:
            worked.append(item)
            yield function(item)

    with pytest.raises(ValueError, match="are damaged"):
        preparation.build(recipe, tmp_path / "out", counted)
    assert len(worked) < 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text([row | {"like": 0} for row in videos()]), "label 'like' is 0 in every training row"),
        (text(videos(2)), "is empty: found"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preparation.build(tiktok.recipe(str(write(tmp_path, content))), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [tiktok.FILE]


def test_the_same_file_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, text(videos()))
    first = tiktok.prepare(str(file), tmp_path / "cache")
    monkeypatch.setattr(preparation, "build", lambda *_: pytest.fail("prepared again"))
    assert tiktok.prepare(str(file), tmp_path / "cache") == first
    monkeypatch.undo()
    assert tiktok.prepare(str(file), tmp_path / "cache", min_count=9) != first


def qk_rows(rows: int = 1000) -> str:
    rng = np.random.default_rng(1)
    names = (
        *(
            "user_id",
            "item_id",
            "click",
            "follow",
            "like",
            "share",
            "video_category",
            "watching_times",
            "gender",
            "age",
        ),
        *(f"hist_{i}" for i in range(1, 11)),
    )
    lines = [",".join(names)]
    for number in range(rows):
        row: Row = {name: rng.integers(50) for name in names}
        row |= {"click": number % 3 % 2, "like": number % 5 % 2, "gender": number % 3, "age": number % 8}
        lines.append(",".join(str(row[name]) for name in names))
    return "\n".join(lines) + "\n"


def test_qk_video(tmp_path: Path) -> None:
    (tmp_path / qk_video.FILE).write_text(qk_rows())
    folder = qk_video.prepare(str(tmp_path), tmp_path / "cache")
    schema = read_schema(str(folder))
    assert schema.rows == {"train": 810, "valid": 90, "test": 100}
    assert schema.labels == {"like": 2, "click": 2}
    assert tuple(schema.categorical) == qk_video.CATEGORICAL
    assert not set(schema.features) & qk_video.OUTCOMES
    where = indices(1000)
    for split in SPLITS:
        written = pq.read_table(folder / split)
        assert written["like"].to_pylist() == [i % 5 % 2 for i in where[split]]
        assert written["click"].to_pylist() == [i % 3 % 2 for i in where[split]]
        assert written["gender"].to_pylist() == [i % 3 + 1 for i in where[split]]


def test_damage_after_a_header_has_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / qk_video.FILE).write_text(qk_rows() + "1,2\n")
    report = preparation.build(qk_video.recipe(str(tmp_path), max_damaged=0.01), tmp_path / "out")
    assert [damage.line for damage in report.first] == [1002]
    assert report.lines == 1001


def test_a_file_without_its_header(tmp_path: Path) -> None:
    (tmp_path / qk_video.FILE).write_text(qk_rows().partition("\n")[2])
    with pytest.raises(ValueError, match=r"names no column \['user_id'.*with its header"):
        preparation.build(qk_video.recipe(str(tmp_path)), tmp_path / "out")


def test_qk_video_follows_the_recipe_of_tiktok(tmp_path: Path) -> None:
    one, other = tiktok.recipe(str(tmp_path)), qk_video.recipe(str(tmp_path))
    assert (one.held_out, one.min_count, one.max_damaged) == (other.held_out, other.min_count, other.max_damaged)


@pytest.mark.parametrize("source", [tiktok, qk_video])
def test_options_and_paths(source: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"get .* and give its path"):
        source.prepare(None, tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        source.prepare(str(tmp_path), tmp_path)
    with pytest.raises(ValueError, match="min_count is 0"):
        source.prepare("x", tmp_path, min_count=0)
    with pytest.raises(ValueError, match="max_damaged is 1"):
        source.prepare("x", tmp_path, max_damaged=1)


def test_processes_that_work_on_blocks_load_no_torch() -> None:
    """Importing torch would take two thirds of their memory."""
    program = (
        "import sys\n"
        "from experiments.data import adult, kuairand, qk_video, tiktok\n"
        "print(*[name for name in ('torch', 'ray', 'pandas') if name in sys.modules])\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()) == (0, []), run.stderr


def test_statistics_of_blocks_add_up() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1e6, 1, 1000)
    parts = [values[:3], values[3:3], values[3:500], values[500:]]
    found = [
        (len(part), float(part.mean()) if len(part) else 0.0, float(((part - part.mean()) ** 2).sum()))
        if len(part)
        else (0, 0.0, 0.0)
        for part in parts
    ]
    joined = merge_statistics("x", found)
    assert math.isclose(joined.mean, values.mean(), rel_tol=1e-14)
    assert math.isclose(joined.std, values.std(), rel_tol=1e-10)
    assert merge_statistics("x", [(3, 5.0, 0.0)]).std == 1.0
