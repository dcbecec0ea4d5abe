"""Figures inside a page: self-contained, with distinct ids."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from nmt.orchestrator.comparison.cost_figure import cost_against_tasks
from nmt.orchestrator.figures.style import GREY, PALETTE
from nmt.orchestrator.figures.svg import SCHEME, inline_svg
from tests.orchestrator._comparison import costs


def drawing() -> Figure:
    return cost_against_tasks(costs(2, 5, 4))


def test_it_is_one_element_with_a_description_and_without_prologue_style_or_address() -> None:
    text = inline_svg(drawing(), "a", 'x < "y" & z')
    root = ElementTree.fromstring(text)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == 'x < "y" & z'
    assert root.attrib["role"] == "img"
    assert re.fullmatch(r"min-width:\d+px", root.attrib["style"])
    assert not {"style", "metadata"} & {element.tag for element in root.iter()}
    assert "//" not in text
    assert "xlink" not in text


def test_ids_carry_the_prefix_and_every_reference_has_its_id() -> None:
    one, other = inline_svg(drawing(), "a", ""), inline_svg(drawing(), "b", "")
    ids = re.findall(r'\bid="([^"]+)"', one)
    assert ids == [f"a{number}" for number in range(1, len(ids) + 1)]
    assert set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)\)", one)) == set(ids)
    assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', other))


def test_equal_pictures_give_equal_text() -> None:
    assert inline_svg(drawing(), "a", "") == inline_svg(drawing(), "a", "")


def test_colours_become_variables_and_every_colour_of_the_palette_has_one() -> None:
    text = inline_svg(drawing(), "a", "")
    assert f"var(--{SCHEME[GREY.lower()][0]})" in text
    assert "var(--paper)" in text
    assert re.findall(r"#[0-9a-f]{6}\b", text) == []
    assert {colour.lower() for colour in PALETTE} <= set(SCHEME)
    assert len({name for name, _, _ in SCHEME.values()}) == len(SCHEME)
