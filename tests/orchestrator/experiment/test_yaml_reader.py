"""One reader for files and for ``--set``: YAML 1.2's core schema, with lines in every message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import assign, load
from nmt.orchestrator.experiment.yaml_reader import read_yaml, write_yaml

VALUES: list[tuple[str, Any]] = [
    ("1e-1", 0.1),
    ("1E5", 1e5),
    ("-2e+3", -2000.0),
    ("1.5e-3", 0.0015),
    (".5", 0.5),
    ("5.", 5.0),
    ("-.inf", -math.inf),
    ("12", 12),
    ("010", 10),
    ("0o10", 8),
    ("0x1F", 31),
    ("+3", 3),
    ("1_000", "1_000"),
    ("190:20:30", "190:20:30"),
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("y", "y"),
    ("true", True),
    ("FALSE", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("2026-11-26", "2026-11-26"),
    ("'1e-1'", "1e-1"),
    ('"12"', "12"),
    ("e5", "e5"),
    ("1e", "1e"),
    ("infinity", "infinity"),
    ("[1e-3, 2, x]", [0.001, 2, "x"]),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_file_and_set_read_a_value_alike(text: str, value: Any) -> None:
    assert read_yaml(f"key: {text}\n").content == {"key": value}
    content: dict[str, Any] = {}
    assign(content, f"section.key={text}")
    assert content == {"section": {"key": value}}
    assert type(content["section"]["key"]) is type(value)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents)
def test_what_is_written_is_read_again(content: Any) -> None:
    assert read_yaml(write_yaml(content)).content == content


def test_anchors_and_merges() -> None:
    text = "base: &base {loss: bce, weight: 1e0}\nother:\n  <<: *base\n  weight: 2\n"
    assert read_yaml(text).content["other"] == {"loss": "bce", "weight": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "line 4: the key 'c' stands in line 3 already"),
        ("a: 1\na: 2\n", "line 2: the key 'a' stands in line 1 already"),
        ("a: [1, 2\nb: 3\n", "line 2: "),
        ("a: 1\n\tb: 2\n", "line 2: "),
        ("a: !!python/object:os.system x\n", "line 1: could not determine a constructor"),
        ("[" * 5000, "nested too deeply"),
        ("a: *missing\n", "line 1: found undefined alias"),
    ],
)
def test_what_is_no_document(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_yaml(text)
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(RequestError, match=rf"my\.yaml is not valid YAML: .*{message}"):
        load(str(tmp_path / "my.yaml"))


FILE = """
name: x
data: {path: rows, batch_size: 8}
tasks:
  - {name: like, loss: binary_cross_entropy}
  - name: finish
    los: binary_cross_entropy
model: {name: scorer}
training:
  max_epoch: 3
  eta_theta: fast
"""


def test_messages_have_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(FILE)
    with pytest.raises(RequestError) as error:
        load(str(tmp_path / "my.yaml"))
    text = str(error.value)
    assert "line 7: tasks.1.los: unknown key (did you mean 'loss'?)" in text
    assert "line 6: tasks.1.loss: missing" in text
    assert "line 10: training.max_epoch: unknown key" in text
    assert "line 11: training.eta_theta: " in text


def test_a_value_of_set_has_no_line(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(FILE)
    with pytest.raises(RequestError) as error:
        load(str(tmp_path / "my.yaml"), ["training.eta_theta=slow", "data.batch_size=many"])
    lines = str(error.value).splitlines()
    assert any(line.startswith("  training.eta_theta: ") and "'slow'" in line for line in lines)
    assert any(line.startswith("  data.batch_size: ") and "'many'" in line for line in lines)
