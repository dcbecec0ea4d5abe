from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nmt import Multipliers
from tests.trainers._asserts import assert_close, assert_convex, assert_identical, no_host_synchronisation
from tests.trainers._problems import three_bowls, two_bowls

numbers = st.floats(-1e6, 1e6)


def descend(
    losses_of: Callable[[Tensor], Tensor], start: list[float], multipliers: Multipliers, eta_theta: float, steps: int
) -> Tensor:
    """Run the loop of the README with plain gradient descent in double precision."""
    theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=eta_theta)
    for _ in range(steps):
        losses = losses_of(theta)
        optimizer.zero_grad()
        multipliers.combine(losses).backward()
        optimizer.step()
        multipliers.ascend(losses)
    return theta.detach()


class TestKnownAnswers:
    """The two-bowl and three-bowl problems, whose saddles are known."""

    def test_golden_trace_of_two_steps(self) -> None:
        multipliers = Multipliers([0.0], rate=0.5, tolerance=0.04, initial=2.0)
        theta = descend(two_bowls, [1.0, 0.0], multipliers, 0.1, steps=1)
        assert_close(theta, [0.86666667, 0.13333333], 1e-7)
        assert_close(multipliers.values, [2.48], 1e-7)
        theta = descend(two_bowls, theta.tolist(), multipliers, 0.1, steps=1)
        assert_close(theta, [0.7508046, 0.24061303], 1e-7)
        assert_close(multipliers.values, [2.83555556], 1e-7)

    def test_updates_are_simultaneous(self) -> None:
        """Losses after the step on θ would give a different λ."""
        multipliers = Multipliers([0.0], rate=0.5, tolerance=0.04, initial=2.0)
        theta = descend(two_bowls, [1.0, 0.0], multipliers, 0.1, steps=1)
        after_the_step = 2.0 + 0.5 * (float(theta[0]) ** 2 - 0.04)
        assert abs(float(multipliers.values) - after_the_step) > 0.1

    def test_saddle_of_two_tasks(self) -> None:
        multipliers = Multipliers([0.0], rate=1.0, tolerance=0.04, initial=0.0)
        theta = descend(two_bowls, [0.0, 0.0], multipliers, 0.1, steps=2000)
        assert_close(theta, [0.2, 2.0], 1e-4)
        assert_close(multipliers.values, [4.0], 1e-2)

    def test_saddles_of_three_tasks(self) -> None:
        second = Multipliers([0.0], rate=1.0, tolerance=0.04, initial=0.0)
        theta = descend(lambda t: three_bowls(t)[:2], [0.0, 0.0, 0.0], second, 0.1, steps=800)
        assert_close(theta[:2], [0.2, 0.0], 1e-4)
        assert_close(second.values, [4.0], 1e-3)

        third = Multipliers([0.0, float(three_bowls(theta)[1])], rate=10.0, tolerance=0.04, initial=0.0)
        theta = descend(three_bowls, theta.tolist(), third, 0.3, steps=1200)
        assert_close(theta, [0.2, 0.2, 3.0], 1e-4)
        assert_close(third.values, [20.0, 4.0], 1e-3)

    def test_small_tolerance_needs_the_rescaling(self) -> None:
        """ε = 0.0025, η_θ = 0.1, η_λ = 1: NaN without re-scaling, |x − 0.05| ≤ 1e-3 with it."""
        curvatures = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
        centres = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)

        def steps(rescaled: bool, count: int) -> Tensor:
            multipliers = Multipliers([0.0], rate=1.0, tolerance=0.0025, initial=0.0)
            theta = torch.zeros(2, dtype=torch.float64)
            for _ in range(count):  # by hand: autograd takes ten times as long
                halves = curvatures * (theta - centres)
                losses = (halves * halves).sum(1)
                weights = multipliers.weights() if rescaled else torch.cat([multipliers.values, torch.ones(1)])
                theta = theta - 0.2 * (weights @ halves)
                multipliers.ascend(losses, reduced=True)
            return theta

        assert bool(steps(rescaled=False, count=2000).isnan().any())
        assert abs(float(steps(rescaled=True, count=11_000)[0]) - 0.05) <= 1e-3

    def test_constant_violations(self) -> None:
        multipliers = Multipliers([0.0, 0.0, 0.0], rate=1.0, initial=0.0)
        expected = [0.0, 0.0, 0.0]
        for n in range(1, 101):
            multipliers.ascend(torch.tensor([0.6, -0.1, 0.4, 1.0], dtype=torch.float64))
            expected = [expected[0] + 0.6, 0.0, expected[2] + 0.4]
            assert multipliers.values.tolist() == expected
            assert_close(multipliers.values, [0.6 * n, 0.0, 0.4 * n], 1e-12)


class TestCombine:
    def test_weights_of_the_rescaling(self) -> None:
        multipliers = Multipliers([0.1, 0.2], rate=1.0, initial=[3.0, 1.0])
        assert_close(multipliers.weights(), [0.6, 0.2, 0.2], 1e-15)

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.floats(0, 1e12), min_size=0, max_size=6))
    def test_weights_are_convex_for_any_multipliers(self, initial: list[float]) -> None:
        assert_convex(Multipliers([1.0] * len(initial), rate=1.0, initial=initial).weights())

    def test_gradient_is_that_of_the_weighted_sum(self) -> None:
        losses = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
        multipliers = Multipliers([0.0, 0.0], rate=1.0, initial=[3.0, 1.0])
        total = multipliers.combine(losses)
        total.backward()
        assert_close(total, 0.6 * 0.5 + 0.2 * 2.0 + 0.2 * 7.0, 1e-15)
        assert losses.grad is not None
        assert_close(losses.grad, [0.6, 0.2, 0.2], 1e-15)

    def test_multipliers_get_no_gradient(self) -> None:
        multipliers = Multipliers([0.0], rate=1.0)
        assert not list(multipliers.parameters())
        assert not multipliers.weights().requires_grad

    def test_several_objectives_are_summed(self) -> None:
        multipliers = Multipliers([0.0], rate=1.0, initial=1.0)
        assert_close(multipliers.combine(torch.tensor([4.0, 1.0, 2.0, 3.0])), 0.5 * 4.0 + 0.5 * 6.0, 1e-6)

    def test_without_protected_tasks_it_is_the_objective(self) -> None:
        multipliers = Multipliers([], rate=1.0)
        losses = torch.tensor([2.0, 3.0])
        assert float(multipliers.combine(losses)) == 5.0
        multipliers.ascend(losses)
        assert multipliers.values.shape == (0,)

    def test_sums_with_counts_equal_means(self) -> None:
        multipliers = Multipliers([0.0, 0.0], rate=1.0, initial=[0.3, 2.0])
        sums, counts = torch.tensor([6.0, 1.0, 8.0]).double(), torch.tensor([3, 4, 2])
        assert_close(multipliers.combine(sums, counts), float(multipliers.combine(sums / counts)), 1e-15)

    def test_a_task_without_labels_contributes_nothing(self) -> None:
        multipliers = Multipliers([0.1, 0.1], rate=1.0, initial=1.0)
        sums = torch.tensor([0.0, 3.0, 4.0], requires_grad=True)
        total = multipliers.combine(sums, torch.tensor([0.0, 2.0, 2.0]))
        total.backward()
        assert_close(total, (1.5 + 2.0) / 3, 1e-6)
        assert sums.grad is not None
        assert bool(sums.grad.isfinite().all())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_half_precision_losses_are_combined_in_single(self, dtype: torch.dtype) -> None:
        losses = torch.tensor([1.0, 3.0], dtype=dtype, requires_grad=True)
        total = Multipliers([0.0], rate=1.0, initial=0.001).combine(losses)
        assert total.dtype == torch.float32
        assert_close(total, (0.001 + 3.0) / 1.001, 1e-6)
        total.backward()
        assert losses.grad is not None
        assert losses.grad.dtype == dtype

    def test_double_losses_stay_double(self) -> None:
        assert Multipliers([0.0], rate=1.0).combine(torch.ones(2, dtype=torch.float64)).dtype == torch.float64

    @pytest.mark.parametrize("counts", [None, torch.tensor([1.0, 1.0])])
    def test_inside_autocast(self, counts: Tensor | None) -> None:
        layer = nn.Linear(3, 2)
        multipliers = Multipliers([0.0], rate=1.0, initial=0.001)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(torch.randn(4, 3))
            assert output.dtype == torch.bfloat16
            losses = (output**2).mean(0)
            total = multipliers.combine(losses, counts)
            multipliers.ascend(losses, counts)
        assert total.dtype == torch.float32
        exact = losses.detach().double()
        assert_close(total, float((0.001 * exact[0] + exact[1]) / 1.001), 1e-6)
        assert_close(multipliers.values, [0.001 + float(exact[0])], 1e-12)


class TestAscend:
    def test_violation_is_above_optimum_and_tolerance(self) -> None:
        multipliers = Multipliers([0.5, 0.2], rate=2.0, tolerance=[0.1, 0.0], initial=[1.0, 0.1])
        losses = torch.tensor([0.9, 0.1, 5.0], dtype=torch.float64)
        assert_close(multipliers.violations(losses), [0.3, -0.1], 1e-15)
        multipliers.ascend(losses)
        assert_close(multipliers.values, [1.6, 0.0], 1e-15)

    def test_relative_violation_does_not_depend_on_scale(self) -> None:
        plain = Multipliers([0.5], rate=1.0, tolerance=0.1, violation="relative")
        scaled = Multipliers([0.005], rate=1.0, tolerance=0.001, violation="relative")
        losses = torch.tensor([0.9, 1.0], dtype=torch.float64)
        plain.ascend(losses)
        scaled.ascend(losses / 100)
        assert_close(plain.values, [1.0 + 0.3 / 0.5], 1e-12)
        assert_close(scaled.values, plain.values.tolist(), 1e-12)

    def test_relative_violation_of_a_task_that_was_solved_exactly_is_absolute(self) -> None:
        multipliers = Multipliers([0.0, 0.5], rate=1.0, tolerance=0.1, violation="relative")
        assert multipliers.violations(torch.tensor([0.3, 0.75, 9.0])).tolist() == pytest.approx([0.2, 0.3])

    def test_relative_violation_keeps_its_sign_at_a_negative_optimum(self) -> None:
        multipliers = Multipliers([-2.0], rate=1.0, violation="relative")
        assert_close(multipliers.violations(torch.tensor([-1.0, 0.0])), [0.5], 1e-15)

    def test_sums_with_counts_equal_means(self) -> None:
        one, other, third = (Multipliers([0.1, 0.2], rate=1.0) for _ in range(3))
        sums, counts = torch.tensor([6.0, 1.0, 8.0]).double(), torch.tensor([3, 4, 2])
        one.ascend(sums, counts)
        other.ascend(sums / counts)
        third.ascend(sums / counts, reduced=True)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.values, third.values)

    def test_a_task_without_labels_keeps_its_multiplier(self) -> None:
        multipliers = Multipliers([0.5, 0.5], rate=1.0, initial=[2.0, 3.0])
        multipliers.ascend(torch.tensor([0.0, 2.0, 1.0]), torch.tensor([0.0, 2.0, 2.0]))
        assert_close(multipliers.values, [2.0, 3.5], 1e-12)

    def test_losses_and_counts_are_not_modified(self) -> None:
        losses, counts = torch.ones(2, dtype=torch.float64), torch.full((2,), 2.0, dtype=torch.float64)
        multipliers = Multipliers([0.0], rate=1.0)
        multipliers.combine(losses, counts)
        multipliers.ascend(losses, counts)
        assert losses.tolist() == [1.0, 1.0]
        assert counts.tolist() == [2.0, 2.0]

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
    def test_multipliers_never_become_negative(self, losses: list[tuple[float, float]]) -> None:
        multipliers = Multipliers([0.0, 1.0], rate=3.0)
        for pair in losses:
            multipliers.ascend(torch.tensor([*pair, 0.0], dtype=torch.float64))
            assert bool((multipliers.values >= 0).all())
            assert_convex(multipliers.weights())

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5), st.permutations(range(3)))
    def test_order_of_tasks_does_not_matter(self, losses: list[tuple[float, ...]], order: list[int]) -> None:
        optima, tolerance = [0.1, 0.5, 2.0], [0.0, 0.3, 0.1]
        plain = Multipliers(optima, rate=0.7, tolerance=tolerance)
        permuted = Multipliers([optima[i] for i in order], rate=0.7, tolerance=[tolerance[i] for i in order])
        for row in losses:
            plain.ascend(torch.tensor([*row, 1.0], dtype=torch.float64))
            permuted.ascend(torch.tensor([*(row[i] for i in order), 1.0], dtype=torch.float64))
        assert torch.equal(plain.values[order], permuted.values)

    def test_increments_below_single_precision_accumulate(self) -> None:
        multipliers = Multipliers([0.0], rate=1e-3, initial=1000.0)
        for _ in range(100):
            multipliers.ascend(torch.tensor([1e-3, 1.0]))
        assert_close(multipliers.values, [1000.0 + 1e-4], 1e-9)


class TestNoHostSynchronisation:
    @pytest.mark.parametrize("violation", ["absolute", "relative"])
    def test_combine_and_ascend(self, violation: Any) -> None:
        real = Multipliers([0.1, 0.2], rate=1.0, violation=violation)
        losses = torch.ones(3, requires_grad=True)
        with no_host_synchronisation(real, losses, torch.ones(3)) as (multipliers, values, counts):
            multipliers.combine(values).backward()
            multipliers.combine(values, counts).backward()
            multipliers.ascend(values)
            multipliers.ascend(values, counts)
            multipliers.ascend(values, reduced=True)

    def test_the_check_can_fail(self) -> None:
        with (
            no_host_synchronisation(torch.ones(1)) as (value,),
            pytest.raises(Exception, match="_local_scalar_dense"),
        ):
            value.item()


class TestState:
    def test_names_of_the_state(self) -> None:
        state = Multipliers([0.1], rate=1.0, names=["like"]).state_dict()
        assert set(state) == {"multipliers", "optima", "tolerance", "skipped", "_extra_state"}

    def test_resume_parity(self) -> None:
        """100 steps, save, load, 100 steps ≡ 200 steps."""
        whole = Multipliers([0.0], rate=1.0, tolerance=0.04, initial=0.0, names=["like"])
        expected = descend(two_bowls, [0.0, 0.0], whole, 0.1, steps=200)
        first = Multipliers([0.0], rate=1.0, tolerance=0.04, initial=0.0, names=["like"])
        theta = descend(two_bowls, [0.0, 0.0], first, 0.1, steps=100)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second = Multipliers([9.0], rate=1.0, tolerance=9.0, initial=9.0, names=["like"])
        second.load_state_dict(torch.load(buffer, weights_only=True))
        theta = descend(two_bowls, theta.tolist(), second, 0.1, steps=100)
        assert torch.equal(theta, expected)
        assert_identical(
            {name: value for name, value in second.state_dict().items() if isinstance(value, Tensor)},
            {name: value for name, value in whole.state_dict().items() if isinstance(value, Tensor)},
        )

    @pytest.mark.parametrize("names", [["finish"], ["like", "finish"], ["finish", "like"]])
    def test_the_state_of_other_tasks_is_refused(self, names: list[str]) -> None:
        state = Multipliers([0.1] * len(names), rate=1.0, names=names).state_dict()
        with pytest.raises(ValueError, match=re.escape(f"belong to the tasks {names}, this module protects ['like']")):
            Multipliers([0.1], rate=1.0, names=["like"]).load_state_dict(state)

    def test_a_refused_state_changes_nothing(self) -> None:
        multipliers = Multipliers([0.1], rate=1.0, initial=1.0, names=["like"])
        with pytest.raises(ValueError, match="belong to the tasks"):
            multipliers.load_state_dict(Multipliers([0.7], rate=1.0, initial=5.0, names=["finish"]).state_dict())
        assert multipliers.values.tolist() == [1.0]
        assert multipliers.optima.tolist() == [0.1]

    @pytest.mark.parametrize(
        "cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.float, lambda module: module.to("cpu", torch.float16)]
    )
    def test_a_cast_of_the_parent_keeps_the_dtype(self, cast: Callable[[nn.Module], nn.Module]) -> None:
        multipliers = Multipliers([0.1], rate=1.0, tolerance=0.3, initial=1 / 3)
        cast(nn.ModuleList([nn.Linear(2, 2), multipliers]))
        for value in (multipliers.values, multipliers.optima, multipliers.tolerance):
            assert value.dtype == torch.float64
        assert multipliers.values.tolist() == [1 / 3]

    def test_a_move_of_the_parent_changes_the_device(self) -> None:
        multipliers = Multipliers([0.1], rate=1.0)
        nn.ModuleList([multipliers]).to("meta")
        assert {value.device.type for value in (multipliers.values, multipliers.optima, multipliers.tolerance)} == {
            "meta"
        }

    def test_arguments_are_copied(self) -> None:
        optima = torch.tensor([0.1], dtype=torch.float64)
        initial = torch.tensor([1.0], dtype=torch.float64)
        multipliers = Multipliers(optima, rate=1.0, initial=initial)
        multipliers.ascend(torch.tensor([1.1, 0.0]))
        assert (optima.item(), initial.item()) == (0.1, 1.0)

    def test_one_number_is_copied_to_all_tasks(self) -> None:
        multipliers = Multipliers([0.0, 0.0], rate=1.0, initial=1.0)
        multipliers.ascend(torch.tensor([1.0, 0.0, 0.0]))
        assert multipliers.values.tolist() == [2.0, 1.0]

    def test_repr_names_the_tasks(self) -> None:
        text = repr(Multipliers([0.1], rate=0.05, names=["like"]))
        assert "names=['like']" in text
        assert "rate=0.05" in text


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"optima": 0.5}, r"optima must be one number per protected task, found shape \(\)"),
            ({"optima": [[0.5]]}, r"optima must be one number per protected task, found shape \(1, 1\)"),
            ({"rate": 0.0}, r"rate \(eta_lambda\) must be a finite number greater than 0, found 0.0"),
            ({"rate": -1.0}, r"rate \(eta_lambda\) must be a finite number greater than 0, found -1.0"),
            ({"rate": math.nan}, r"rate \(eta_lambda\) must be a finite number greater than 0, found nan"),
            ({"violation": "squared"}, "violation must be 'absolute' or 'relative', found 'squared'"),
            ({"names": ["a", "b"]}, "names must be one per protected task: found 2 for 1 optima"),
            ({"tolerance": -0.1}, "tolerance must be finite and at least 0, found -0.1"),
            ({"tolerance": math.nan}, "tolerance must be finite and at least 0, found nan"),
            ({"tolerance": [0.1, 0.1]}, r"tolerance must be one number, or one per protected task \(1\)"),
            ({"initial": -1.0}, "initial must be finite and at least 0, found -1.0"),
            ({"initial": [1.0, 1.0]}, r"initial must be one number, or one per protected task \(1\)"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Multipliers(**{"optima": [0.5], "rate": 1.0, **arguments})

    @pytest.mark.parametrize("losses", [torch.tensor(1.0), torch.ones(2), torch.ones(1, 3)])
    def test_shape_of_losses(self, losses: Tensor) -> None:
        multipliers = Multipliers([0.1, 0.2], rate=1.0)
        message = "losses must be a vector of 2 protected losses and at least one objective"
        with pytest.raises(ValueError, match=message):
            multipliers.combine(losses)
        with pytest.raises(ValueError, match=message):
            multipliers.ascend(losses)


class TestLossesThatAreNotFinite:
    @pytest.mark.parametrize("proportional", [0.0, 0.5])
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_leave_every_multiplier_as_it_is_and_are_counted(self, bad: float, proportional: float) -> None:
        def build() -> Multipliers:
            return Multipliers([0.1, 0.2], rate=0.5, proportional=proportional, smoothing=0.3 if proportional else 0.0)

        disturbed, undisturbed = build(), build()
        for place, losses in enumerate(([0.3, 0.1, 1.0], [bad, 0.4, 1.0], [0.2, bad, 1.0], [0.15, 0.5, 1.0])):
            disturbed.ascend(torch.tensor(losses))
            if place in (0, 3):
                undisturbed.ascend(torch.tensor(losses))
        assert torch.equal(disturbed.values, undisturbed.values)
        assert int(disturbed.skipped) == 2
        assert int(undisturbed.skipped) == 0
        restored = build()
        restored.load_state_dict(disturbed.state_dict())
        assert int(restored.skipped) == 2

    def test_with_counts_too(self) -> None:
        multipliers = Multipliers([0.1], rate=0.5)
        multipliers.ascend(torch.tensor([math.nan, 1.0]), torch.tensor([4, 4]))
        assert multipliers.values.tolist() == [1.0]
        multipliers.ascend(torch.tensor([0.8, 1.0]), torch.tensor([4, 4]))
        assert multipliers.values.tolist() == pytest.approx([1.0 + 0.5 * 0.1])

    def test_the_objective_alone_moves_no_multiplier(self) -> None:
        multipliers = Multipliers([0.1], rate=0.5)
        multipliers.ascend(torch.tensor([0.3, math.nan]))
        assert multipliers.values.tolist() == pytest.approx([1.1])


class TestLists:
    def test_are_the_tensor_of_their_values(self) -> None:
        one, other = Multipliers([0.1], rate=0.5), Multipliers([0.1], rate=0.5)
        x = torch.tensor([0.3, 2.0], requires_grad=True)
        combined = one.combine([x[0], x[1:]])
        combined.backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0.5, 0.5]
        assert torch.equal(combined, other.combine(x))
        one.ascend([x[0], x[1]])
        other.ascend(x)
        assert torch.equal(one.values, other.values)

    def test_of_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"losses must be scalars, found tensors of shape \(2,\); give the mean"):
            Multipliers([0.1], rate=0.5).combine([torch.ones(2), torch.ones(())])
