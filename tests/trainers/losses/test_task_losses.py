"""The losses of several tasks together, and a user's own losses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.binary_cross_entropy import binary_cross_entropy
from nmt.trainers.losses.cross_entropy import cross_entropy
from nmt.trainers.losses.pairwise_logistic import pairwise_logistic
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses, output_of
from nmt.trainers.spec.task import Task
from tests.trainers._asserts import assert_close
from tests.trainers._labels import LENGTHS, ROWS, random_labels
from tests.trainers._problems import binary, lists_batch, rows_batch

nan = math.nan

SHAPES: list[tuple[int, ...]] = []


def recording_cross_entropy(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """Cross-entropy that records the shapes of its outputs."""
    SHAPES.append(tuple(output.shape))
    return cross_entropy(output, label, batch)


class TestTaskLosses:
    tasks = (
        binary("a"),
        Task("p", "pairwise_logistic"),
        binary("b"),
        Task("q", "pairwise_logistic"),
    )

    def test_mixed_losses_keep_the_requested_order(self) -> None:
        label = random_labels(4, "binary")
        batch = lists_batch(label, LENGTHS)
        outputs = {task.name: torch.randn(ROWS, dtype=torch.float64) for task in self.tasks}
        functions = {"binary_cross_entropy": binary_cross_entropy, "pairwise_logistic": pairwise_logistic}
        losses = TaskLosses(self.tasks)
        for order in ((0, 1, 2, 3), (3, 0, 2), (2, 0), (1,), (3, 2, 1, 0)):
            samples = losses(outputs, batch, [self.tasks[column] for column in order])
            assert samples.sums.shape == (len(LENGTHS), len(order))
            for i, column in enumerate(order):
                task = self.tasks[column]
                one = functions[task.loss](outputs[task.name][:, None], label[:, column : column + 1], batch)
                assert_close(samples.sums[:, i], one.sums[:, 0], 1e-12)
                assert torch.equal(samples.counts[:, i], one.counts[:, 0])

    def test_shared_and_separate_outputs_agree(self) -> None:
        label = random_labels(4, "binary")
        batch = lists_batch(label, LENGTHS)
        score = torch.randn(ROWS, dtype=torch.float64)
        losses = TaskLosses(self.tasks)
        shared = losses(dict.fromkeys([task.name for task in self.tasks], score), batch, self.tasks)
        separate = losses({task.name: score.clone() for task in self.tasks}, batch, self.tasks)
        assert_close(shared.sums, separate.sums, 1e-12)
        assert torch.equal(shared.counts, separate.counts)

    def test_one_loss_with_outputs_of_different_widths(self) -> None:
        """Tasks of 3, 4 and 3 classes and one with a single logit: their outputs cannot be stacked."""
        tasks = (Task("a", "cross_entropy"), Task("b", "cross_entropy"), Task("c", "cross_entropy"), binary("d"))
        label = torch.cat([random_labels(3, "classes").clamp(max=2), random_labels(1, "binary")], 1)
        batch = lists_batch(label, LENGTHS)
        outputs = {name: torch.randn(ROWS, n, dtype=torch.float64) for name, n in {"a": 3, "b": 4, "c": 3}.items()}
        outputs["d"] = torch.randn(ROWS, dtype=torch.float64)
        losses = TaskLosses(tasks)
        for order in ((0, 1, 2, 3), (3, 1, 2, 0), (2, 0)):
            samples = losses(outputs, batch, [tasks[column] for column in order])
            for i, column in enumerate(order):
                output, column_label = outputs[tasks[column].name][:, None], label[:, column : column + 1]
                loss = binary_cross_entropy if column == 3 else cross_entropy
                one = loss(output, column_label, batch)
                assert_close(samples.sums[:, i], one.sums[:, 0], 1e-12)
                assert torch.equal(samples.counts[:, i], one.counts[:, 0])

    def test_like_tasks_are_evaluated_in_one_call(self) -> None:
        tasks = [Task(name, f"{__name__}:recording_cross_entropy") for name in "abc"]
        losses, label = TaskLosses(tasks), torch.zeros(2, 3)
        outputs = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 5), "c": torch.zeros(2, 3)}
        SHAPES.clear()
        losses(outputs, rows_batch(label), tasks)
        assert SHAPES == [(2, 2, 3), (2, 1, 5)]
        SHAPES.clear()
        losses(dict.fromkeys("abc", outputs["a"]), rows_batch(label), tasks)
        assert SHAPES == [(2, 1, 3)]

    def test_shapes_of_stacked_outputs(self) -> None:
        batch = rows_batch(torch.zeros(2, 2))
        tasks = (Task("a", "cross_entropy"), Task("b", "cross_entropy"))
        logits = torch.randn(2, 3)
        assert output_of({"a": logits, "b": logits}, tasks, batch).shape == (2, 1, 3)
        assert output_of({"a": logits, "b": logits.clone()}, tasks, batch).shape == (2, 2, 3)
        assert torch.equal(output_of({"a": logits}, tasks[:1], batch).squeeze(1), logits)

    @pytest.mark.parametrize("lists", [False, True], ids=["rows", "lists"])
    def test_counts_from_labels_alone(self, lists: bool) -> None:
        """Equal to the counts that losses return, with ``count_with`` and without it."""
        kinds = ["cross_entropy", "squared_error", "binary_cross_entropy", OWN + ":absolute_error", "squared_error"]
        kinds += ["pairwise_logistic"] if lists else []
        tasks = [Task(f"t{i}", kind) for i, kind in enumerate(kinds)]
        label = torch.randint(0, 2, (ROWS, len(tasks)), generator=torch.Generator().manual_seed(2)).float()
        label[torch.rand(label.shape, generator=torch.Generator().manual_seed(3)) < 0.3] = nan
        batch = lists_batch(label, LENGTHS, spare=2) if lists else rows_batch(label)
        outputs = {task.name: torch.randn(ROWS, *([4] if task.loss == "cross_entropy" else [])) for task in tasks}
        losses = TaskLosses(tasks)
        subset = [tasks[i] for i in (3, 0, 4, 2, *([5] if lists else []))]
        samples = losses(outputs, batch, subset)
        assert torch.equal(losses.counts(batch, subset), samples.counts)
        assert 0 < samples.counts.sum() < samples.counts.numel() * ROWS

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_outputs_are_measured_in_single(self, dtype: torch.dtype) -> None:
        label = torch.ones(2, 1)
        samples = TaskLosses([binary("a")])({"a": torch.zeros(2, dtype=dtype)}, rows_batch(label), [binary("a")])
        assert samples.sums.dtype == torch.float32
        assert_close(samples.sums, [[math.log(2)]] * 2, 1e-6)

    def test_missing_output(self) -> None:
        with pytest.raises(ValueError, match=r"no output for task 'a'; its outputs are \['b'\]"):
            TaskLosses([binary("a")])({"b": torch.zeros(1)}, rows_batch(torch.ones(1, 1)), [binary("a")])

    def test_no_mapping(self) -> None:
        with pytest.raises(ValueError, match="the model returns a Tensor, expected a mapping from task to output"):
            TaskLosses([binary("a")])(torch.zeros(1), rows_batch(torch.ones(1, 1)), [binary("a")])  # type: ignore[arg-type]

    def test_output_of_the_wrong_length(self) -> None:
        with pytest.raises(ValueError, match=r"output for task 'a' has shape \(3,\), expected .* each of 2 rows"):
            TaskLosses([binary("a")])({"a": torch.zeros(3)}, rows_batch(torch.ones(2, 1)), [binary("a")])

    def test_output_with_an_extra_dimension(self) -> None:
        """The common slip (rows, 1) must not broadcast to (rows, rows)."""
        with pytest.raises(ValueError, match=r"'a' has shape \(2, 1\)"):
            TaskLosses([binary("a")])({"a": torch.zeros(2, 1)}, rows_batch(torch.ones(2, 1)), [binary("a")])

    def test_unknown_loss(self) -> None:
        task = Task("a", "binary_cross_entropie")
        with pytest.raises(
            ValueError, match=r"unknown loss 'binary_cross_entropie' \(did you mean 'binary_cross_entropy'"
        ):
            TaskLosses([task])


OWN = "tests.trainers._own_losses"


class TestOwnLoss:
    def evaluate(self, path: str, **options: float) -> Samples:
        tasks = (Task("a", path), Task("b", path, options=options))
        label = torch.tensor([[1.0, 1.0], [nan, 0.0]])
        return TaskLosses(tasks)({"a": torch.zeros(2), "b": torch.zeros(2)}, rows_batch(label), tasks)

    def test_with_options(self) -> None:
        samples = self.evaluate(f"{OWN}:absolute_error", scale=10.0)
        assert samples.sums.tolist() == [[1.0, 10.0], [0.0, 0.0]]
        assert samples.counts.tolist() == [[1.0, 1.0], [0.0, 1.0]]

    def test_has_no_metric_of_its_own(self) -> None:
        assert Task("a", f"{OWN}:absolute_error").metric == ""
        assert Task("a", f"{OWN}:absolute_error", metric="rmse").metric == "rmse"

    @pytest.mark.parametrize(
        ("loss", "message"),
        [
            (
                "mean_error",
                r"loss '.*:mean_error' of 'a', 'b': a loss must return .*Samples, .* = \(2, 2\); found Tensor",
            ),
            ("total_error", r"of 'a', 'b': .* of shape \(examples, tasks\) = \(2, 2\); found \[\(2,\), \(2,\)\]"),
            ("picky", r"loss '.*:picky' of 'a', 'b': wants positive outputs, found 0"),
            ("absolut_error", r"module .*_own_losses has no 'absolut_error' \(did you mean 'absolute_error'\?\)"),
            ("NO_FUNCTION", "is a float, not a callable"),
        ],
    )
    def test_wrong_losses_are_refused(self, loss: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.evaluate(f"{OWN}:{loss}")

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("import nowhere", "cannot be imported: No module named 'nowhere'; is it on the Python path"),
            (
                "import math\nmath.nothing",
                "cannot be imported: AttributeError: module 'math' has no attribute 'nothing",
            ),
            ("def loss(:", "cannot be imported: SyntaxError: "),
        ],
    )
    def test_in_a_broken_module(self, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "broken_losses.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ValueError, match=f"loss 'broken_losses:loss' {message}"):
            TaskLosses([Task("a", "broken_losses:loss")])

    @pytest.mark.parametrize("path", ["nowhere.at_all:loss", ":loss", ".losses:loss"])
    def test_in_no_module(self, path: str) -> None:
        with pytest.raises(ValueError, match=f"loss '{path}' cannot be imported"):
            TaskLosses([Task("a", path)])
