"""What the recipe and the model determine of the values that a stage is trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
from torch import nn

from nmt.trainers.data.schema import Schema
from nmt.trainers.models.build import gives_one_score
from nmt.trainers.registry import MODELS
from nmt.trainers.spec.recipe import RECIPES, RecipeName
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import FROM_RECIPE, Training

GIVEN: dict[str, Any] = {"eta_lambda": 0.7, "joint_weight": 0.0, "later_weight": 0.0, "violations": "paired"}
"""A value of each field that a recipe fills in, other than the default recipe's; two of them are 0."""


class OneScore(nn.Module):
    """A model of a user's own that says that its tasks share one score."""

    one_score = True


class OwnTowers(nn.Module):
    """A model of a user's own that says nothing of it."""


def build_own(schema: Schema, tasks: Sequence[Task]) -> nn.Module:
    return OwnTowers()


class TestRecipe:
    @pytest.mark.parametrize("recipe", ["joint", "paper"])
    def test_it_gives_the_values_that_are_absent(self, recipe: RecipeName) -> None:
        settings, values = Training(recipe=recipe).settle(), RECIPES[recipe]
        for field in fields(values):
            assert getattr(settings, field.name) == getattr(values, field.name)

    def test_the_default_one_is_the_joint_start(self) -> None:
        """Settings made by hand, as the tests make them, have the same defaults as an experiment file."""
        settings = Training().settle()
        assert settings == Settings()
        assert (settings.joint_weight, settings.later_weight, settings.violations) == (0.65, 0.3, "held_out")

    def test_that_of_the_paper_has_no_joint_start(self) -> None:
        settings = Training(recipe="paper").settle()
        assert (settings.joint_weight, settings.later_weight) == (0.0, 0.0)
        assert (settings.violations, settings.relative) == ("minibatch", False)

    @pytest.mark.parametrize("name", FROM_RECIPE)
    def test_a_value_that_is_given_stays(self, name: str) -> None:
        settings = Training(**{name: GIVEN[name]}).settle()
        assert getattr(settings, name) == GIVEN[name] != getattr(RECIPES["joint"], name)
        others = [other for other in FROM_RECIPE if other != name]
        assert all(getattr(settings, other) == getattr(RECIPES["joint"], other) for other in others)


class TestConstrainedStages:
    @pytest.mark.parametrize(("patience", "expected"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (None, None)])
    def test_they_wait_a_third_as_long(self, patience: int | None, expected: int | None) -> None:
        settings = Training(patience=patience).settle()
        assert (settings.patience, settings.constrained_patience) == (patience, expected)

    @pytest.mark.parametrize("patience", [1, 6, None])
    def test_they_wait_as_long_as_others_by_the_papers_recipe(self, patience: int | None) -> None:
        """It does not take steps back, so a stage that ends early would not be tried again."""
        settings = Training(recipe="paper", patience=patience).settle()
        assert settings.constrained_patience == patience
        assert settings.constrained_backtracks == 0

    def test_they_go_back_more_often(self) -> None:
        settings = Training().settle()
        assert (settings.backtracks, settings.constrained_backtracks) == (1, 3)


class TestOneScore:
    def test_later_tasks_stay_out_of_the_mix(self) -> None:
        """All else is the recipe's, the joint start included."""
        one, several = Training().settle(one_score=True), Training().settle()
        assert (one.later_weight, several.later_weight) == (0.0, 0.3)
        assert all(getattr(one, f.name) == getattr(several, f.name) for f in fields(one) if f.name != "later_weight")

    def test_a_weight_that_is_given_stays(self) -> None:
        assert Training(later_weight=0.2).settle(one_score=True).later_weight == 0.2

    def test_of_the_models_only_the_scorer_gives_one(self) -> None:
        assert [name for name in MODELS if gives_one_score(name)] == ["scorer"]

    def test_a_model_of_a_users_own_says_so(self) -> None:
        assert gives_one_score(f"{__name__}:OneScore")
        assert not gives_one_score(f"{__name__}:OwnTowers")
        assert not gives_one_score(f"{__name__}:build_own")

    def test_an_unknown_model_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"scorrer.*scorer"):
            gives_one_score("scorrer")
