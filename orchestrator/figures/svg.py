"""Figures as SVG elements inside an HTML page."""

from __future__ import annotations

import io
import re
from html import escape
from itertools import count

from matplotlib.figure import Figure

from nmt.orchestrator.figures.style import BORDER, GREY, INK, PALE, PALETTE

SCHEME = {
    "#ffffff": ("paper", "#ffffff", "#17191c"),
    "#ebebeb": ("rule", "#ebebeb", "#2c2f34"),
    INK.lower(): ("ink", INK, "#e8e8e6"),
    GREY.lower(): ("grey", GREY, "#a5a9ae"),
    PALE.lower(): ("pale", PALE, "#565b61"),
    BORDER.lower(): ("border", BORDER, "#6d7278"),
    **{
        light.lower(): (f"colour-{index}", light, dark)
        for index, (light, dark) in enumerate(
            zip(
                PALETTE,
                ("#4fa8e0", "#f5894a", "#2dbe92", "#e09cc2", "#f0b429", "#7cc7f2", "#b48ad0"),
                strict=True,
            ),
            1,
        )
    },
}
"""Colour of a figure → name of its CSS variable, and its values in the light and in the dark scheme."""


_LEGIBLE = 1.2
"""Smallest scale in pixels per point at which small text is legible; on a narrower page the figure scrolls."""


def inline_svg(figure: Figure, prefix: str, description: str) -> str:
    """Return the figure as a self-contained ``<svg>`` element, without prologue, metadata and external references.

    Text is drawn as outlines, so that it looks the same everywhere; a screen reader reads ``description`` instead. The
    colours of :data:`SCHEME` become CSS variables ``--NAME``, which the page has to define. Ids are numbered, so that
    equal figures give equal text.

    Args:
        figure: The figure.
        prefix: Prefix of every id, different for each figure of a page.
        description: Description of the figure in words.

    Raises:
        ValueError: Matplotlib wrote an SVG without a view box.
    """
    stream = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=no_metadata)
    text = stream.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would apply to the whole page
    text = re.sub(r"<metadata.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")
    text = _number_ids(text, prefix)
    text = re.sub(r'\bd="[^"]+"', lambda path: re.sub(r"\d+\.\d{3,}", _round, path.group()), text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found.group()), text)
    view = re.search(r'viewBox="([^"]*)"', text)
    if view is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    narrowest = round(_LEGIBLE * float(view[1].split()[2]))
    opening = f'<svg role="img" aria-label="{escape(description)}" viewBox="{view[1]}" style="min-width:{narrowest}px">'
    return re.sub(r"\n\s*\n", "\n", opening + text[text.index(">") + 1 :])


def _number_ids(text: str, prefix: str) -> str:
    """Rename referenced ids to ``PREFIX1``, ``PREFIX2`` … and drop the others."""
    needed = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    numbers = count(1)
    names: dict[str, str] = {}
    for name in re.findall(r'\bid="([^"]+)"', text):
        if name in needed and name not in names:
            names[name] = f"{prefix}{next(numbers)}"
    text = re.sub(r'\s\bid="([^"]+)"', lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", text)
    text = re.sub(r'href="#([^"]+)"', lambda found: f'href="#{names[found[1]]}"', text)
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{names[found[1]]})", text)


def _round(found: re.Match[str]) -> str:
    return f"{float(found.group()):.2f}".rstrip("0").rstrip(".")


def _variable(colour: str) -> str:
    return f"var(--{SCHEME[colour][0]})" if colour in SCHEME else colour
