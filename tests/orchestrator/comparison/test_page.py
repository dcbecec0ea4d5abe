"""The page of a comparison: well-formed, self-contained, and in agreement with the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html import unescape
from html.parser import HTMLParser

import pytest

from nmt.orchestrator.comparison.headline import headline
from nmt.orchestrator.comparison.page import page
from nmt.orchestrator.comparison.results import Comparison
from tests.orchestrator._comparison import comparison, nothing_chosen, with_nan, without

VOID = {"meta", "br"}
NASTY = "<b>&\"'$x$</b>"
LABEL = "extrapolated from 20 of 125"


class Reader(HTMLParser):
    """Checks that every element is closed by its own end, and keeps ids, references, texts and headings."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and value]
        for name, value in attrs:
            if name == "href" and value:
                self.references.append(value.removeprefix("#"))
            if name == "aria-labelledby" and value:
                self.references.append(value)
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def cases() -> Iterator[tuple[str, Comparison]]:
    yield "three", comparison()
    yield "lower", comparison(["ctr", "cvr"], higher=False, lead=-0.02, limit=None)
    yield "one", comparison(["only"], limit=None)
    yield "nine", comparison([f"t{index}" for index in range(9)])
    yield "nasty", comparison([NASTY, "b", "c"], guarantee="broken")
    yield "no-grid", without(comparison(), "grid")
    yield "no-rivals", without(comparison(), "baseline", "method")
    yield "no-sweep", replace(without(comparison(), "sweep"), chain=())
    yield "nothing", nothing_chosen(comparison())
    yield "nan", with_nan(comparison(with_chain=False))
    yield "bounds", replace(comparison(), exact_samples=False)


CASES = dict(cases())


@cache
def page_of(name: str) -> str:
    """The page of a case, made once."""
    return page(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_every_page_is_well_nested_with_distinct_ids_and_no_dangling_reference(name: str) -> None:
    read = Reader(page_of(name))
    assert len(read.ids) == len(set(read.ids))
    assert set(read.references) <= set(read.ids)
    assert read.tags.count("h1") == read.tags.count("title") == read.tags.count("main") == 1
    assert "script" not in read.tags


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_fetched(name: str) -> None:
    text = page_of(name)
    assert not re.findall(r"(?:https?:)?//[a-z]", text)
    assert not {"link", "img", "script", "iframe", "object", "image"} & set(Reader(text).tags)
    assert "@import" not in text
    assert not [value for _, attribute, value in Reader(text).attributes if attribute in ("src", "srcset", "onclick")]
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


@pytest.mark.parametrize("name", CASES)
def test_the_page_has_the_headline_and_every_row(name: str) -> None:
    found = CASES[name]
    text = Reader(page_of(name)).text
    assert " ".join(headline(found).text.split()) in text
    assert "NaN" not in text
    assert " nan " not in text
    for row in found.rows:
        if not row.name.endswith("alone"):
            assert row.name in text


def test_figures_have_descriptions_and_take_their_colours_from_the_scheme() -> None:
    text = page_of("three")
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(labels) == 3
    assert unescape(labels[0]) == f"Trade-off between the tasks. {headline(CASES['three']).front}"
    assert labels[1].startswith("Samples against the number of tasks")
    assert labels[2].startswith("Multipliers: ")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
    light, dark = re.findall(r":root\{([^}]*)\}", text)
    assert used <= set(re.findall(r"--([a-z0-9-]+):", light))
    assert set(re.findall(r"--([a-z0-9-]+):", light)) == set(re.findall(r"--([a-z0-9-]+):", dark))
    assert "@media screen and (prefers-color-scheme:dark)" in text
    assert "@media print" in text


def test_equal_comparisons_give_equal_pages() -> None:
    assert page(comparison()) == page_of("three")


def test_names_are_escaped_everywhere() -> None:
    text = page_of("nasty")
    assert NASTY not in text
    assert "&lt;b&gt;&amp;&#34;" in text
    assert NASTY in Reader(text).text
    assert "<b>" not in text
    raw = page(replace(comparison(["a", "b"]), name="<i>n", data="</style><script>"))
    assert "<i>" not in raw
    assert "<script>" not in raw


def test_extrapolated_samples_are_labelled_everywhere() -> None:
    text = Reader(page_of("three")).text
    assert text.count("12,500,000") == text.count("≈ 12,500,000") + text.count("12,500,000 at m") >= 3
    assert text.count(LABEL) >= 4
    assert "grid, 5 weights a task, ≈ 12,500,000 samples, extrapolated from 20 of 125" in text
    assert "600,000 samples belong to stages that were found finished" in text
    assert "extrapolated" not in Reader(page_of("lower")).text.lower()


def test_predictions_are_called_exact_or_upper_bounds() -> None:
    assert "predictions are exact" in page_of("three")
    assert "predictions are upper bounds" in page_of("bounds")
    assert "exact" not in page_of("bounds")


def test_every_model_and_every_task_is_in_a_table() -> None:
    read = Reader(page_of("nine"))
    for task in CASES["nine"].tasks:
        assert f"> {task.name}"[2:] in read.texts
    rows = page_of("nine").split('id="every-model"')[1].count("<tr>") - 1
    assert rows == len(CASES["nine"].models)
    assert "All 9 tasks" in read.text
    assert "Every task" not in Reader(page_of("three")).text


def test_the_tiles_show_guarantee_and_place() -> None:
    assert "<dt>broken</dt>" in page_of("nasty")
    assert "<dt>held</dt>" in page_of("three")
    assert "<dt>inside</dt>" in page_of("lower")


def test_sections_without_content_are_left_out() -> None:
    text = page_of("nothing")
    assert "<svg" not in text
    assert "no trade-off to draw" in text
    assert '<h2 id="multipliers">' not in page_of("nan")
    assert '<dl class="tiles">' not in text
