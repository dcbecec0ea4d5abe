"""What a finished chain comes to, as a table and as JSON."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console, Group
from rich.table import Table

from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.summary.limits import against_limit, share_used, worst_verdict
from nmt.orchestrator.summary.table import chain_table
from nmt.orchestrator.summary.wording import (
    format_duration,
    format_multiplier,
    format_signed,
    format_values,
    join_names,
    level_name,
)
from nmt.orchestrator.summary.worst_tasks import PROTECTED
from nmt.trainers.certificate import Certificate
from nmt.trainers.records import Deviation, StageRecord, Verdict
from tests.orchestrator._records import chain, nulled, record, verdict


def by_hand() -> list[StageRecord]:
    """pay, then amount, then relevance; the last stage gained nothing."""
    first = record(
        0,
        ["pay"],
        losses={"test": {"pay": 0.5190, "amount": 0.9100, "relevance": 1.2000}},
        metrics={"test": {"pay": 0.742, "amount": 0.476, "relevance": 0.350}},
        metric=(metric := {"pay": "auc", "amount": "auc", "relevance": "auc"}),
        optima={"pay": (0.4847, 0.5028)},
    )
    return [
        replace(first, constants={"test": {"pay": 0.6931, "amount": 1.1}}),
        record(
            1,
            ["amount"],
            ["pay"],
            losses={"test": {"pay": 0.5200, "amount": 0.8507, "relevance": 1.1500}},
            metrics={"test": {"pay": 0.741, "amount": 0.501, "relevance": 0.344}},
            metric=metric,
            optima={"amount": (0.8411, 0.8685)},
        ),
        record(
            2,
            ["relevance"],
            ["pay", "amount"],
            verdicts=[
                with_auc(verdict("pay", 0.0005, 0.0012, optimum=0.5028), -0.002, 0.003),
                with_auc(verdict("amount", -0.0104, 0.0096, optimum=0.8685), 0.012, 0.004),
                with_auc(verdict("pay", 0.0010, 0.0011, split="test", optimum=0.5190), -0.001, 0.002),
                with_auc(verdict("amount", -0.0126, 0.0090, split="test", optimum=0.8507), 0.010, 0.005),
            ],
            multipliers={"pay": 1.0246, "amount": 27.44},
            losses={"test": {"pay": 0.5200, "amount": 0.8381, "relevance": 1.1550}},
            metrics={"test": {"pay": 0.741, "amount": 0.511, "relevance": 0.344}},
            metric=metric,
            optima={"relevance": (1.1640, 1.1634)},
            accepted_step=0,
        ),
    ]


def with_auc(found: Verdict, difference: float, allowed: float) -> Verdict:
    """The verdict with that on its AUC, which was 0.75 at the optimum."""
    auc = Deviation("auc", 0.75, 0.75 + difference, difference, allowed, allowed, -difference <= allowed, True)
    return replace(found, metric=auc)


def tables(shown: Group) -> list[Table]:
    """The table of all tasks and that of the protected ones, if there are any."""
    return [part for part in shown.renderables if isinstance(part, Table)]


def headers(table: Table) -> list[str]:
    return [str(column.header).replace("\n", " ") for column in table.columns]


def cells(table: Table) -> list[list[str]]:
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def printed_lines(shown: Group, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(shown)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def severity(found: Verdict) -> tuple[bool, float]:
    return not found.held, share_used(found.difference, found.allowed)


def sentence(*records: StageRecord) -> str:
    return str(chain_summary(records)["sentence"])


class TestTable:
    def test_a_row_per_task_by_priority(self) -> None:
        tasks, _ = tables(chain_table(by_hand()))
        heads = ["task", "stage", "accepted step of", "loss constant → end", "auc own stage → end", "points", "λ"]
        assert headers(tasks) == heads
        assert [" | ".join(row) for row in cells(tasks)] == [
            "pay | 1 | 60 of 100 | 0.693 → 0.520 | 0.742 → 0.741 | -0.1 | 1.02",
            "amount | 2 | 60 of 100 | 1.100 → 0.838 | 0.501 → 0.511 | +1.0 | 27.4",
            "relevance | 3 | 0 of 100 | – → 1.155 | 0.344 → 0.344 | 0.0 | –",
        ]

    def test_a_row_per_protected_task_with_loss_and_metric_on_both_splits(self) -> None:
        _, protected = tables(chain_table(by_hand()))
        assert headers(protected) == [
            "task",
            "loss valid",
            "loss test",
            "auc valid",
            "auc test",
            "guarantee on valid",
        ]
        assert [" | ".join(row) for row in cells(protected)] == [
            "pay | +0.0005 ±0.0012 | +0.0010 ±0.0011 | -0.0020 ±0.0030 | -0.0010 ±0.0020 | held +0.0005 ≤ 0.0012",
            "amount | -0.0104 ±0.0096 | -0.0126 ±0.0090 | +0.0120 ±0.0040 | +0.0100 ±0.0050 | held -0.0104 ≤ 0.0096",
        ]

    def test_the_sentence_is_below(self) -> None:
        assert " ".join(printed_lines(chain_table(by_hand()), 200)).endswith(
            "Every guarantee held: pay and amount are within their limits on the validation split. "
            "Stage 3 (relevance) gained nothing."
        )

    def test_a_protected_task_takes_one_line_at_120_columns_and_two_at_80(self) -> None:
        shown = chain_table(by_hand())
        wide, narrow = printed_lines(shown, 120), printed_lines(shown, 80)
        assert max(map(len, narrow)) <= 80
        assert wide[12].split()[0] == "pay"
        assert wide[12].endswith("-0.0020 ±0.0030  -0.0010 ±0.0020  held +0.0005 ≤ 0.0012")
        assert wide[13].split()[0] == "amount"
        first, second = (" ".join(line.split()) for line in narrow[13:15])
        assert first == "pay +0.0005 ±0.0012 -0.0020 ±0.0030 held"
        assert second == "+0.0010 ±0.0011 -0.0010 ±0.0020 +0.0005 ≤ 0.0012"

    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_of_64_tasks_the_worst_are_shown_and_no_number_is_cut(self, width: int) -> None:
        records = chain([[f"assay_{index:02}"] for index in range(64)], steps=4, evaluations=2)
        lines = printed_lines(chain_table(records), width)
        text = "\n".join(lines)
        assert "…" not in text
        valid = [verdict for verdict in records[-1].verdicts if verdict.split == "valid"]
        worst_first = sorted(valid, key=severity, reverse=True)
        shown = set(re.findall(r"^ ?(assay_\d\d) ", text, re.MULTILINE))
        assert shown == {*(verdict.task for verdict in worst_first[:PROTECTED]), "assay_63"}
        for found in worst_first[:PROTECTED]:
            assert against_limit(found) in text
        assert "of 63 protected tasks the 6 closest" in " ".join(text.split())
        assert max(map(len, lines)) <= width
        rows = PROTECTED + 1 + PROTECTED * (2 if width == 80 else 1)
        assert len(lines) <= rows + 18  # titles, headers, the note and the sentence

    def test_every_task_is_shown_up_to_twelve(self) -> None:
        records = chain([[f"t{index}"] for index in range(12)], steps=4, evaluations=2)
        shown = chain_table(records)
        assert [[row[0] for row in cells(table)] for table in tables(shown)] == [
            [f"t{index}" for index in range(12)],
            [f"t{index}" for index in range(11)],
        ]
        assert "Shown" not in "\n".join(printed_lines(shown, 100))

    def test_tasks_with_different_metrics_name_theirs(self) -> None:
        first, second = by_hand()[:2]
        metric = {"pay": "auc", "amount": "shop.metrics:revenue", "relevance": ""}
        second = replace(second, metric_names=metric, verdicts=(verdict("pay", 0.0, 0.1),))
        tasks, protected = tables(chain_table([replace(first, metric_names=metric), second]))
        assert [row[4:6] for row in cells(tasks)] == [
            ["auc 0.742 → 0.741", "-0.1 pt"],
            ["revenue 0.501 → 0.501", "0.0000"],
        ]
        assert headers(tasks)[4:6] == ["metric own stage → end", "change"]
        assert cells(protected)[0][3:5] == ["–", "–"]  # a metric that was not compared

    def test_missing_and_null_numbers_are_dashes(self) -> None:
        shown = chain_table([nulled(one) for one in by_hand()])
        tasks, protected = tables(shown)
        assert cells(tasks)[0] == ["pay", "1", "60 of 100", "– → –", "– → –", "–", "–"]
        assert cells(protected)[0] == ["pay", "– ±–", "– ±–", "– ±–", "– ±–", "held not finite"]
        assert "None" not in "\n".join(printed_lines(shown, 100))

    def test_names_are_no_markup(self) -> None:
        shown = chain_table(
            [record(0, [":smile: b"]), record(1, ["c"], [":smile: b"], verdicts=[verdict(":smile: b", 0.0, 0.1)])]
        )
        assert [cells(table)[0][0] for table in tables(shown)] == [":smile: b"] * 2


class TestSentence:
    def test_a_chain_of_one_stage(self) -> None:
        assert sentence(record(0, ["like"])) == "Nothing was protected: one level was solved. Every stage gained."

    def test_every_guarantee_held(self) -> None:
        assert sentence(record(0, ["a"]), record(1, ["b"], ["a"], verdicts=[verdict("a", 0.0, 0.1)])) == (
            "Every guarantee held: a is within its limit on the validation split. Every stage gained."
        )

    def test_a_stage_gains_if_it_beats_the_constant(self) -> None:
        first = record(0, ["a"], losses={"valid": {"a": 0.69, "b": 0.7}})
        second = record(1, ["b"], ["a"], verdicts=[verdict("a", 0.0, 0.1)], losses={"valid": {"a": 0.69, "b": 0.35}})
        held = "Every guarantee held: a is within its limit on the validation split."
        better = replace(first, constants={"valid": {"a": 0.6901, "b": 0.36}})
        assert sentence(better, second) == f"{held} Every stage gained."
        level = replace(first, constants={"valid": {"a": 0.69, "b": 0.36}})
        assert sentence(level, second) == (
            f"{held} a is no better than a constant prediction: on the validation split the loss at the end of the own "
            "stage is not below that of the best constant."
        )
        worse = replace(first, constants={"valid": {"a": 0.6, "b": 0.3}})
        assert "a and b are no better than a constant" in sentence(worse, second)
        assert "Every stage gained" not in sentence(worse, second)

    def test_the_last_evaluation_is_not_converged(self) -> None:
        candidates = chain([["a"]], steps=4, evaluations=2)[0].candidates
        last = record(0, ["a"], candidates=candidates, accepted_step=candidates[-1].step)
        assert last.converged
        last = replace(last, ended_by="max_epochs")
        assert not last.converged
        text = "Stage 1 (a) is not converged: the last evaluation is the best, and more epochs may gain more, see "
        assert f"{text}training.max_epochs." in sentence(last)

    def test_a_guarantee_broke_and_nothing_was_gained(self) -> None:
        broken = record(1, ["b"], ["a"], verdicts=[verdict("a", 0.02, 0.0012)], accepted_step=0)
        assert sentence(record(0, ["a"], accepted_step=0), broken) == (
            "Not every guarantee held: beyond the limit on the validation split is a (+0.0200 > 0.0012 allowed). "
            "Stages 1 (a) and 2 (b) gained nothing."
        )

    def test_a_test_split_that_is_worse_breaks_no_guarantee(self) -> None:
        verdicts = [verdict("a", 0.0, 0.1), verdict("a", 0.2, 0.1, split="test")]
        records = [record(0, ["a"]), record(1, ["b"], ["a"], verdicts=verdicts)]
        assert chain_summary(records)["held"] is True
        assert sentence(*records).startswith("Every guarantee held")


def with_certificate(record: StageRecord, stationarity: float, *not_attainable: str, price: float = 2.0) -> StageRecord:
    tasks = record.protected
    numbers = {"feasibility": dict.fromkeys(tasks, 0.0), "slackness": dict.fromkeys(tasks, 0.25)}
    prices = dict.fromkeys(tasks, price)
    certificate = Certificate(
        **numbers,
        shadow_prices=prices,
        stationarity=stationarity,
        gradient_norm=0.5,
        not_attainable=not_attainable,
        examples=64,
    )
    return replace(record, certificate=certificate)


class TestCertificate:
    def test_stationarity_is_told_where_a_constraint_pulls(self) -> None:
        """Without one it is 1 whatever the stage did."""
        pay, amount, relevance = by_hand()
        balance = "Stationarity, 0 where objective and constraints balance, 1 at most: "
        assert sentence(
            with_certificate(pay, 1.0), with_certificate(amount, 0.031), with_certificate(relevance, 0.2)
        ).endswith(f" {balance}0.03 (amount) and 0.20 (relevance).")
        assert balance not in sentence(with_certificate(pay, 1.0), with_certificate(amount, 1.0, price=0.0))
        assert balance not in sentence(with_certificate(pay, 1.0), with_certificate(amount, math.nan))

    def test_stationarity_of_many_stages_is_a_range(self) -> None:
        stages = [with_certificate(record(stage, [f"t{stage}"], ["t"]), stage / 10) for stage in range(1, 6)]
        assert sentence(record(0, ["t"]), *stages).endswith("1 at most: 0.10 to 0.50 (t5).")

    def test_what_is_not_attainable_is_told_in_plain_words(self) -> None:
        pay, amount, relevance = by_hand()
        told = sentence(pay, with_certificate(amount, 0.1, "pay"), with_certificate(relevance, 0.1, "pay", "amount"))
        assert (
            " Beyond the accepted model, pay cannot be held together with amount: λ kept rising while its violation "
            "did not shrink; allow a tolerance. pay and amount cannot be held together with relevance: λ kept rising "
            "while their violations did not shrink; allow a tolerance. Stationarity"
        ) in told

    def test_json(self) -> None:
        pay, amount, _ = by_hand()
        summary = chain_summary([pay, with_certificate(amount, math.nan, "pay")])
        assert summary["stages"][0]["certificate"] is None
        assert summary["stages"][1]["certificate"] == {
            "stationarity": None,
            "gradient_norm": 0.5,
            "feasibility": {"pay": 0.0},
            "slackness": {"pay": 0.25},
            "shadow_prices": {"pay": 2.0},
            "not_attainable": ["pay"],
            "examples": 64,
            "grouped": 0,
        }
        json.dumps(summary, allow_nan=False)


class TestJson:
    def test_content(self) -> None:
        summary = chain_summary(by_hand())
        assert summary["held"] is True
        pay = summary["tasks"][0]
        assert pay["test_metric"].pop("change") == pytest.approx(-0.001)
        assert pay["test_metric"].pop("points") == pytest.approx(-0.1)
        assert pay["guarantee"].pop("share_of_limit") == pytest.approx(0.0005 / 0.0012)
        assert pay == {
            "task": "pay",
            "stage": 1,
            "stage_key": "key0",
            "metric": "auc",
            "optimum": {"train": 0.4847, "valid": 0.5028, "test": 0.519},
            "test_loss": 0.52,
            "constant": {"valid": None, "test": 0.6931},
            "accepted_step": 60,
            "steps": 100,
            "deviation": {
                "loss": {
                    "valid": {"difference": 0.0005, "standard_error": 0.0012, "allowed": 0.0012, "held": True},
                    "test": {"difference": 0.001, "standard_error": 0.0011, "allowed": 0.0011, "held": True},
                },
                "metric": {
                    "valid": {"difference": -0.002, "standard_error": 0.003, "allowed": 0.003, "held": True},
                    "test": {"difference": -0.001, "standard_error": 0.002, "allowed": 0.002, "held": True},
                },
            },
            "test_metric": {"start": 0.742, "end": 0.741},
            "multiplier": 1.0246,
            "guarantee": {"status": "held", "against": "optimum", "accept_on": "loss", "text": "+0.0005 ≤ 0.0012"},
        }
        relevance = summary["tasks"][2]
        assert (relevance["deviation"], relevance["multiplier"]) == (None, None)
        assert relevance["guarantee"]["status"] == "not protected"
        assert summary["stages"][2] == {
            "stage": 3,
            "stage_key": "key2",
            "level": ["relevance"],
            "objective": {"relevance": 1.0},
            "protected": ["pay", "amount"],
            "live": [],
            "held": True,
            "gained": False,
            "accepted_step": 0,
            "accepted_evaluation": "start",
            "steps": 100,
            "samples": 1000,
            "ended_by": "plateau",
            "wall_seconds": 1.5,
            "seconds": {},
            "certificate": None,
        }

    def test_of_the_joint_start(self) -> None:
        records = chain([["a", "b"], ["c"]], steps=10, joint=True)
        summary = chain_summary(records)
        assert [stage["stage"] for stage in summary["stages"]] == [0, 1, 2]
        assert [(task["task"], task["stage"]) for task in summary["tasks"]] == [("a", 1), ("b", 1), ("c", 2)]
        joint = summary["stages"][0]
        assert (joint["level"], joint["protected"]) == ([], [])
        assert joint["objective"] == dict.fromkeys("abc", 1 / 3)
        assert summary["stages"][1]["objective"] == {"a": 1.0, "b": 1.0, "c": 0.3}
        start = summary["tasks"][2]["test_metric"]["start"]
        assert start == records[0].metrics["test"]["c"]

    @pytest.mark.parametrize("lost", [math.nan, math.inf])
    def test_it_is_strict_json_whatever_the_numbers(self, lost: float) -> None:
        first, second, third = by_hand()
        broken = replace(
            third,
            losses={"test": {"pay": lost}},
            multipliers={"pay": lost},
            verdicts=(replace(verdict("pay", 0.0, 0.0), difference=lost, held=False),),
        )
        text = json.dumps(chain_summary([first, second, broken]), allow_nan=False)
        assert json.loads(text)["tasks"][0]["test_loss"] is None
        assert json.loads(text)["tasks"][0]["guarantee"]["status"] == "broken"

    def test_records_from_json_give_the_same(self) -> None:
        records = chain([["a", "b"], ["c"]], steps=10)
        again = [StageRecord.from_json(one.to_json()) for one in records]
        assert chain_summary(again) == chain_summary(records)

    def test_no_record_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one stage"):
            chain_summary([])


class TestWords:
    @pytest.mark.parametrize(
        ("difference", "allowed", "text"),
        [
            (0.0002, 0.0011, "+0.0002 ≤ 0.0011"),
            (-0.00000001, 0.0011, "0.0000 ≤ 0.0011"),
            (0.0, 0.0, "0.0000 ≤ 0.0000"),
            (0.00002, 0.000034, "+0.000020 ≤ 0.000034"),
            (0.00114, 0.00106, "+0.00114 > 0.00106"),
            (12.5, 100.0, "+12.50 ≤ 100.00"),
        ],
    )
    def test_a_comparison_shows_decimals_enough(self, difference: float, allowed: float, text: str) -> None:
        assert against_limit(verdict("a", difference, allowed)) == text

    def test_worst_is_closest_to_its_limit_or_furthest_beyond(self) -> None:
        held = [verdict("a", 0.1, 1.0), verdict("b", 0.01, 0.02), verdict("c", -9.0, 1.0)]
        assert worst_verdict(held) == held[1]
        broken = [*held, verdict("d", 0.001, 0.0)]
        assert worst_verdict(broken) == broken[3]
        assert worst_verdict([verdict("a", 1.0, 0.5, split="test")]) is None

    def test_share_used(self) -> None:
        assert share_used(0.5, 1.0) == 0.5
        assert share_used(0.0, 0.0) == 0.0
        assert share_used(-0.1, 0.0) == -math.inf
        assert share_used(math.nan, 0.1) == share_used(None, 0.1) == math.inf

    def test_lists_and_levels(self) -> None:
        assert join_names(["a"]) == "a"
        assert join_names(["a", "b", "c"]) == "a, b and c"
        assert join_names(["a", "b", "c", "d"]) == "a, b and 2 more"
        assert [level_name(level) for level in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a, b", "a +2"]

    def test_differences(self) -> None:
        values = (0.00003, -0.00003, 0.25, None, math.nan)
        assert [format_signed(value) for value in values] == ["0.0000", "0.0000", "+0.2500", "–", "–"]

    def test_levels_of_loss(self) -> None:
        values = (0.5191, 0.0521, 0.00521, 12.345, 1234.5, 0.0, None)
        expected = ["0.519", "0.0521", "0.00521", "12.35", "1234", "0.000", "–"]
        assert [format_values(value) for value in values] == expected
        assert format_values(0.0521, 0.5) == "0.052 → 0.500"

    def test_multipliers(self) -> None:
        values = (0.05, 1.0246, 27.44, 138.2, None)
        assert [format_multiplier(value) for value in values] == ["0.05", "1.02", "27.4", "138", "–"]

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.4, "0:00"),
            (42, "0:42"),
            (725, "12:05"),
            (3723, "1:02:03"),
            (-1, "0:00"),
            (math.nan, "–"),
            (math.inf, "–"),
        ],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text
