"""YAML 1.2, in files and on the command line alike: ``1e-1`` is a number, ``no`` is text, a key occurs once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str, ...]
"""Keys from the top of a document down to a value; places in lists as text."""

_TAGS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "merge": (r"<<", "<"),
}
"""Tag → the plain texts that have it (YAML 1.2.2, §10.3.2), and their first characters."""


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    pass


_Loader.yaml_implicit_resolvers, _Dumper.yaml_implicit_resolvers = {}, {}  # without those of YAML 1.1
for _tag, (_texts, _first) in _TAGS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_texts})$"), ["" if c == "\0" else c for c in _first]
        )


def _to_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _to_int)


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        content: Its content.
        lines: Place of each value → its line, from 1.
    """

    content: Any
    lines: Mapping[Place, int] = field(default_factory=dict)


def read_yaml(text: str) -> Document:
    """Read a document by the core schema of YAML 1.2, which is also that of JSON.

    Merge keys (``<<``) are understood too. A date is text.

    Args:
        text: The document.

    Raises:
        ValueError: The text is not YAML, a key occurs twice, or it is nested too deeply; the message has the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines = dict(_lines_of(node)) if node is not None else {}
            return Document(loader.construct_document(node) if node is not None else None, lines)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply for an experiment") from error


def write_yaml(content: Any) -> str:
    """Return a text that :func:`read_yaml` reads as the same content."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False)
    return text


def _lines_of(node: yaml.Node, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Yield the line of each value.

    Raises:
        yaml.constructor.ConstructorError: A key occurs twice.
    """
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines_of(value, (*place, str(number)))
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands in line {seen[name]} already; keep one", key.start_mark
                )
            seen[name] = key.start_mark.line + 1
            yield (*place, name), key.start_mark.line + 1
            for found, line in _lines_of(value, (*place, name)):
                if found != (*place, name):
                    yield found, line
