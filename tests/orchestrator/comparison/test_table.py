"""The table of a comparison says the same in the terminal, in MLflow and as Markdown."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from nmt.orchestrator.comparison.guarantees import TITLE
from nmt.orchestrator.comparison.headline import headline
from nmt.orchestrator.comparison.results import ComparedTask, Comparison
from nmt.orchestrator.comparison.table import (
    MOST_COLUMNS,
    comparison_columns,
    comparison_markdown,
    comparison_table,
    escape_markdown,
    lines,
)
from tests.orchestrator._comparison import comparison, nothing_chosen, with_nan, without

LABEL = "extrapolated from 20 of 125"
MANY = [f"NVS_ENZ_long_{index:02}" for index in range(64)]


def printed(found: Comparison, width: int, *, styled: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=styled, color_system="standard" if styled else None).print(
        comparison_table(found)
    )
    return stream.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


class TestTerminal:
    @pytest.mark.parametrize("width", [60, 80, 120, 200])
    @pytest.mark.parametrize("names", [["only"], ["pay", "amount", "relevance"], MANY], ids=["one", "three", "64"])
    def test_no_line_is_too_long_and_nothing_is_cut(self, width: int, names: list[str]) -> None:
        found = comparison(names)
        text = printed(found, width)
        assert max(map(len, text.splitlines())) <= width
        assert words(headline(found).text) in words(text)
        for line in lines(found):
            assert line.metrics[0] in text
        assert "2,700,000" in text or len(names) != 3

    def test_costs_and_metrics_share_a_table_at_120_columns_and_have_one_each_at_80(self) -> None:
        wide, narrow = printed(comparison(), 120), printed(comparison(), 80)
        assert wide.startswith("Cost, and test pair_accuracy ↑ of the chosen models")
        wide, _, _ = wide.partition("Protected tasks")
        narrow, _, _ = narrow.partition("Protected tasks")
        assert wide.count("equal weights") == 1
        assert narrow.startswith("Cost ")
        assert narrow.count("equal weights") == 2
        assert "\nTest pair_accuracy ↑ of the chosen models" in narrow
        for name in ("pay", "amount", "relevance"):
            assert re.search(rf"method .*\b{name}\b", narrow)
        row = next(line for line in wide.splitlines() if line.startswith("NMT"))
        assert row.split()[-8:] == ["9", "21", "2,700,000", "246", "0.8041", "0.7413", "0.7388", "held"]

    def test_of_many_tasks_the_first_are_shown_and_the_others_counted(self) -> None:
        text = printed(comparison(MANY), 120)
        shown = [name for name in MANY if re.search(rf"method.*{name}", text)]
        assert 2 <= len(shown) <= MOST_COLUMNS
        assert shown == MANY[: len(shown)]
        assert f"The first {len(shown)} of 64 tasks, by priority; {64 - len(shown)} more." in text
        assert "more." not in printed(comparison(), 120)

    def test_extrapolated_and_reused_samples_are_labelled(self) -> None:
        for width in (80, 120):
            column = " ".join(line[49:66].strip() for line in printed(comparison(), width).splitlines())
            assert "600,000 reused" in words(column)
            assert f"≈ 12,500,000 {LABEL}" in words(column)
            assert "20 of 125" in printed(comparison(), width)
        assert "extrapolated" not in printed(comparison(limit=None), 120)

    def test_only_the_best_of_a_column_is_bold(self) -> None:
        text = printed(comparison(), 120, styled=True)
        bold = re.findall(r"\x1b\[1m\s*(0\.\d{4})\x1b", text)
        assert bold == ["0.8041", "0.7413", "0.8041", "0.7392"]

    def test_a_broken_guarantee_names_its_task(self) -> None:
        assert "broken: pay" in words(
            printed(without(comparison(guarantee="broken"), "grid", "baseline", "method"), 80)
        )

    def test_names_are_not_markup(self) -> None:
        assert "[red]x[/red]" in printed(comparison(["[red]x[/red]", "b"]), 120)


class TestLines:
    def test_single_task_models_share_a_line(self) -> None:
        found = lines(comparison())
        assert [line.row.name for line in found] == [
            "NMT, 3 × 3 learning rates",
            "grid, 5 weights a task",
            "equal weights",
            "3 single-task models",
            "famo",
            "torchjd:UPGrad",
        ]
        alone = found[3]
        assert (alone.row.cost.trials, alone.row.cost.samples, alone.row.planned_samples) == (3, 300_000, 300_000)
        models = {one.label: one.test for one in comparison().models}
        assert alone.test == {name: models[f"{name} alone"][name] for name in ("pay", "amount", "relevance")}
        assert alone.guarantee == "–"

    def test_best_follows_the_direction_and_equal_printed_values_share_it(self) -> None:
        base = comparison(["a"])
        rows = []
        for row, value in zip(base.rows, (0.50001, 0.6, 0.50002, math.nan, 0.7), strict=False):
            assert row.chosen is not None
            rows.append(replace(row, chosen=replace(row.chosen, test={"a": value})))
        low = replace(base, rows=tuple(rows), tasks=(ComparedTask("a", 1, "loss", False),))
        assert [line.best for line in lines(low)] == [(True,), (False,), (True,), (False,), (False,)][: len(rows)]
        high = replace(low, tasks=(ComparedTask("a", 1, "auc", True),))
        expected = max(row.chosen.test["a"] for row in rows if row.chosen and not math.isnan(row.chosen.test["a"]))
        assert [line.best[0] for line in lines(high)] == [
            row.chosen is not None and row.chosen.test["a"] == expected for row in rows
        ]

    def test_without_metrics_nothing_is_best(self) -> None:
        found = lines(nothing_chosen(comparison()))
        assert {metric for line in found for metric in line.metrics} == {"–"}
        assert not any(best for line in found for best in line.best)


class TestColumns:
    def test_every_task_has_a_column_and_every_column_a_value_per_line(self) -> None:
        columns = comparison_columns(comparison(MANY))
        assert [name for name in columns if name.startswith("test ")] == [f"test pair_accuracy {name}" for name in MANY]
        assert {len(values) for values in columns.values()} == {6}

    def test_samples_carry_their_label_and_the_rest_was_counted(self) -> None:
        columns = comparison_columns(comparison())
        assert columns["trials"][:2] == ["9", "20 of 125"]
        assert columns["samples"][:2] == ["2,700,000", f"≈ 12,500,000 ({LABEL})"]
        assert columns["samples trained"][:2] == [2_100_000, 2_000_000]
        assert columns["samples reused"][:2] == [600_000, 0]
        assert columns["guarantee"][:2] == ["held", "broken: pay"]
        assert not any(12_500_000 in values for values in columns.values())

    def test_a_missing_metric_is_none_never_nan(self) -> None:
        found = with_nan(comparison())
        star = found.rows[0].chosen
        assert star is not None
        rows = (replace(found.rows[0], chosen=replace(star, test={**star.test, "pay": math.nan})), *found.rows[1:])
        columns = comparison_columns(replace(found, rows=rows))
        assert columns["test pair_accuracy pay"][0] is None
        assert columns["test pair_accuracy amount"][0] == star.test["amount"]
        assert comparison_columns(nothing_chosen(comparison()))["test pair_accuracy pay"] == [None] * 8


class TestMarkdown:
    def test_every_row_has_every_cell(self) -> None:
        text = comparison_markdown(comparison(["a|b", '<b>&"', "c"]))
        costs, guarantees = (
            [line for line in part.splitlines() if line.startswith("|")] for part in text.split(escape_markdown(TITLE))
        )
        assert (len(costs), len(guarantees)) == (2 + 6, 2 + 5)
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in costs} == {10}
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in guarantees} == {8}
        assert "<b>" not in text
        assert "&lt;b&gt;&amp;" in text

    def test_it_says_what_the_terminal_says(self) -> None:
        text = comparison_markdown(comparison())
        assert text.startswith(escape_markdown(headline(comparison()).text))
        assert f"| ≈ 12,500,000 ({LABEL}) |" in text
        assert "| 2,700,000; 600,000 reused |" in text
        assert re.findall(r"\*\*(.+?)\*\*", text) == ["0.8041", "0.7413", "0.8041", "0.7392"]
        assert f"The first {MOST_COLUMNS} of 64 tasks" in comparison_markdown(comparison(MANY))

    def test_special_characters_are_escaped(self) -> None:
        assert escape_markdown("a_b*c|d\n`e` <f>&[g]") == r"a\_b\*c\|d \`e\` &lt;f&gt;&amp;\[g\]"
