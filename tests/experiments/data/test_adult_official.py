"""Adult's official files, small and synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from nmt.experiments.data import adult
from nmt.experiments.data.official import preparation
from nmt.trainers.data.prepared import read_schema

EDUCATIONS = ("HS-grad", "Bachelors", "Doctorate", "11th")
STATES = ("Never-married", "Divorced", "Married-civ-spouse")


def person(number: int, end: str) -> str:
    fields = [
        *(20 + number % 50, ("Private", "?", "State-gov")[number % 3], 1000 + number, EDUCATIONS[number % 4], 9),
        *(STATES[number % 3], "Sales", "Husband", "White", ("Male", "Female")[number % 2]),
        *(500 if number % 10 == 0 else 0, 0, 40 + number % 2, "United-States", (">50K", "<=50K")[number % 4 > 0] + end),
    ]
    return ", ".join(map(str, fields))


def write(folder: Path, persons: int = 400, tests: int = 100) -> None:
    (folder / "adult.data").write_text("".join(person(number, "") + "\n" for number in range(persons)) + "\n")
    (folder / "adult.test").write_text(
        "|1x3 Cross validator\n" + "".join(person(number, ".") + "\n" for number in range(tests))
    )


@pytest.mark.parametrize("name", ["", "adult.data"])
def test_the_official_files(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    folder = adult.prepare(str(tmp_path / name), tmp_path / "cache")
    schema = read_schema(str(folder))
    train, valid = train_test_split(np.arange(400), test_size=0.1, random_state=42)
    where = {"train": sorted(train), "valid": sorted(valid), "test": range(100)}
    assert schema.rows == {"train": 360, "valid": 40, "test": 100}
    assert list(schema.labels) == list(adult.LABELS)
    assert not set(schema.features) & adult.OUTCOMES
    for split, numbers in where.items():
        written = pq.read_table(folder / split)
        assert written["y_income50k"].to_pylist() == [number % 4 == 0 for number in numbers]
        assert written["y_never_married"].to_pylist() == [number % 3 == 0 for number in numbers]
        assert written["y_college"].to_pylist() == [number % 4 in (1, 2) for number in numbers]
        assert written["y_capital_gain"].to_pylist() == [number % 10 == 0 for number in numbers]
        assert written["age"].to_pylist() == [20 + number % 50 for number in numbers]
    words = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    assert [word["token"] for word in words if word["column"] == "workclass"] == ["?", "Private", "State-gov"]
    ages = np.array([20 + number % 50 for number in train])
    assert schema.numeric["age"].mean == pytest.approx(ages.mean())
    assert schema.numeric["age"].std == pytest.approx(ages.std())


def test_an_income_that_is_neither_is_damage(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "adult.test"
    file.write_text(file.read_text().replace(">50K.", "rich.", 1))
    report = preparation.build(adult.recipe(str(tmp_path), max_damaged=0.01), tmp_path / "out")
    assert [(damage.line, damage.reason) for damage in report.first] == [
        (2, "label y_income50k is nan, allowed are 0 to 1")
    ]


def test_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "adult.test").unlink()
    with pytest.raises(FileNotFoundError, match=r"adult\.test is not a file"):
        adult.prepare(str(tmp_path), tmp_path / "cache")
    with pytest.raises(ValueError, match=r"is not a folder with adult\.data and adult\.test"):
        adult.recipe(str(tmp_path / "none"))
