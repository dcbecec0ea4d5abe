"""Every page of the repository, followed word by word: what it tells people to type is run, or at least parsed.

New pages are included automatically. Each check is one test per page, and its message has a line for every problem.
Every command is in exactly one class: it is run here (``_here.py``), it is run by another test, or it cannot be run
(``_not_here.py``, with the reason).
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from nmt.orchestrator.cli.app import app
from nmt.orchestrator.experiment import sections
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.registry import LOSSES, METRIC_OF_LOSS, METRICS, MODELS, check_options, resolve
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.recipe import RECIPES
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training

from ._checkout import Checkout, checkout
from ._documents import (
    ROOT,
    Block,
    Command,
    all_commands,
    anchors,
    blocks,
    blocks_of,
    commands,
    files,
    links,
    pages,
    spans,
    text_of,
)
from ._here import HERE
from ._not_here import CANNOT, ELSEWHERE, PROGRAMS

WIDTH = 120
"""Lines end before this column; tables aside."""

README_LINES = 120

LANGUAGES = ("bash", "python", "yaml", "json", "math")

RUN_BLOCKS = {"README.md": 1, "CONTRIBUTING.md": 2, "orchestrator/README.md": 1}
"""Page → number of its Python blocks, all of which are run here, or in ``orchestrator/api/test_callbacks.py``."""

VERBS = ("run", "sweep", "grid", "compare")
"""What the word VERB stands for."""

GROUPS = ("data", "submit")

MADE_BY_READERS = {"infra/mlflow/.env"}
"""Files that readers create."""

BASE: Mapping[str, Any] = {
    "name": "any",
    "data": {"source": "experiments.data.table", "path": "any.parquet"},
    "tasks": [{"name": "like", "loss": "binary_cross_entropy"}],
    "model": {"name": "mmoe"},
}
"""An experiment file to complete parts of one."""

SECTIONS = "|".join(Experiment.model_fields)

HOW = {
    field.name: section
    for section, owner in (("training", Training), ("execution", Execution))
    for field in dataclasses.fields(owner)
}
"""Key that a page may name without its section → the section."""

NMT: Any = typer.main.get_command(app)

of_each_page = pytest.mark.parametrize("page", pages())


def commands_of(page: str) -> list[Command]:
    return [one for one in all_commands() if one.page == page]


def fail(problems: list[str]) -> None:
    """Fail with one line for every problem."""
    assert not problems, "\n" + "\n".join(problems)


# --- lines, links, names ----------------------------------------------------------------------------------------------


def wrong_lines(text: str, page: str) -> Iterator[str]:
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# "):
        yield f"{page}:1: begins without a title"
    if page == "README.md" and len(lines) > README_LINES:
        yield f"{page}: has {len(lines)} lines, at most {README_LINES} are wanted"
    for number, line in enumerate(lines, 1):
        if len(line) >= WIDTH and not line.startswith("|"):
            yield f"{page}:{number}: ends at column {len(line)}"


def wrong_links(text: str, page: str) -> Iterator[str]:
    for target, line in links(text):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        place = (ROOT / page).parent / name if name else ROOT / page
        if not place.exists():
            yield f"{page}:{line}: links to {target}, which is not there"
        elif fragment and fragment not in anchors(text if not name else place.read_text()):
            yield f"{page}:{line}: links to {target}, and there is no such heading"


def wrong_names(text: str, page: str) -> Iterator[str]:
    """Yield inline code that looks like a file or a key of an experiment file, and is neither."""
    roots = (ROOT, (ROOT / page).parent, ROOT / "infra", ROOT / "infra" / "kubernetes")
    without_links = re.sub(r"\[[^\]]*\]\([^)\s]+\)", lambda link: "\n" * link[0].count("\n"), text)
    for code, line in spans(without_links):
        if code in MADE_BY_READERS or code.startswith("./"):
            continue
        if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)+/?|[\w-]+\.(?:py|md)", code):
            first, suffix = code.split("/")[0], Path(code).suffix
            of_a_room = any((root / first).is_dir() for root in roots) and "/" in code
            is_file = suffix in (".py", ".md", ".yaml", ".ini") and ("/" in code or suffix in (".py", ".md"))
            if (of_a_room or is_file) and not any((root / code).exists() for root in roots):
                yield f"{page}:{line}: {code} is no file"
        elif not code.endswith(".json") and (found := re.match(rf"((?:{SECTIONS})\.[\w.]+|\w+)(?:: (.+))?$", code)):
            key, value = found[1], found[2]
            if "." in key or (value is not None and key in HOW):
                try:
                    check_key(key if "." in key else f"{HOW[key]}.{key}", value)
                except (ValueError, TypeError) as error:
                    yield f"{page}:{line}: {code}: {' '.join(str(error).split())}"


def check_key(key: str, value: str | None) -> None:
    """Read a key of an experiment file, such as ``training.eta_theta``, with its value where one is given.

    Raises:
        ValueError: There is no such key, or the value is refused.
    """
    section, *inner = key.split(".")
    if section not in Experiment.model_fields:
        raise ValueError(f"{section} is no key of an experiment file")
    if inner and section in FIELDS and inner[0] not in FIELDS[section]:
        raise ValueError(f"{section} has no {inner[0]}, only {', '.join(FIELDS[section])}")
    if value is not None:
        content: Any = yaml.safe_load(value)
        for name in reversed(inner):
            content = {name: content}
        read_part({section: content})


FIELDS: Mapping[str, tuple[str, ...]] = {
    "data": tuple(sections.Data.model_fields),
    "tasks": tuple(field.name for field in dataclasses.fields(Task)),
    "training": tuple(field.name for field in dataclasses.fields(Training)),
    "execution": tuple(field.name for field in dataclasses.fields(Execution)),
    "sweep": tuple(sections.Sweep.model_fields),
    "grid": tuple(sections.Grid.model_fields),
    "compare": tuple(sections.Compare.model_fields),
    "tune": tuple(sections.Tune.model_fields),
    "scaling": tuple(sections.Scaling.model_fields),
}
"""Section of an experiment file → its keys."""


def read_part(content: Mapping[str, Any]) -> Experiment:
    """Read a part of an experiment file, or a whole one: keys, names of components, and their options.

    Raises:
        ValueError: Something in it is refused.
    """
    whole = {name: {**BASE.get(name, {}), **part} if isinstance(part, dict) else part for name, part in content.items()}
    experiment = Experiment.model_validate({**BASE, **whole})
    model = resolve("model", experiment.model["name"], MODELS)
    check_options("model", model, experiment.model.keys() - {"name"}, ("schema", "tasks"))
    for task in (task for level in experiment.levels for task in level):
        check_options("loss", resolve("loss", task.loss, LOSSES), task.options, ("output", "label", "batch"))
    if experiment.data.source is not None:
        try:
            source = import_module(experiment.data.source).prepare
        except ImportError as error:
            raise ValueError(f"data.source: {error}") from error
        check_options("data.options", source, experiment.data.options, ("path", "cache"))
    return experiment


# --- blocks -----------------------------------------------------------------------------------------------------------


def wrong_blocks(found: list[Block], page: str) -> Iterator[str]:
    for block in found:
        place = f"{page}:{block.line}"
        if block.language not in LANGUAGES:
            yield f"{place}: a block is one of {', '.join(LANGUAGES)}, found {block.language!r}"
        elif block.language == "python":
            try:
                ast.parse(block.text)
            except SyntaxError as error:
                yield f"{place}: {error}"
        elif block.language == "yaml":
            try:
                read_part(yaml.safe_load(block.text))
            except (ValueError, TypeError, yaml.YAMLError) as error:
                yield f"{place}: {error}"
    written = sum(block.language == "python" for block in found)
    if written != RUN_BLOCKS.get(page, 0):
        yield f"{page}: has {written} blocks of Python, and {RUN_BLOCKS.get(page, 0)} are run by a test"


# --- commands ---------------------------------------------------------------------------------------------------------


CLASSIFIED = Counter([*HERE, *ELSEWHERE, *(text for texts in CANNOT.values() for text in texts)])


def program(text: str) -> str:
    """Return the first word that is not an assignment."""
    return next((word for word in text.split() if not re.match(r"\w+=", word)), "")


def is_complete(one: Command) -> bool:
    """Return whether a command could be run as it is: in a sentence it may have placeholders, or lack arguments."""
    if not one.inline:
        return True
    if re.search(r"…|\[[A-Z]|\b[A-Z]{2,}\b(?![=_])", one.text):
        return False
    try:
        for words in nmt_words(one.text):
            read(words, whole=True)
    except Exception:  # what is wrong beside a missing argument is for wrong_commands to say
        return False
    return True


def wrong_classes(found: list[Command]) -> Iterator[str]:
    for one in found:
        known = CLASSIFIED[one.text]
        if not known and (program(one.text) in PROGRAMS or not is_complete(one)):
            continue
        if known != 1:
            how = "is in no class; run it in _here.py, or say in _not_here.py why not"
            yield f"{one.page}:{one.line}: {one.text!r} {how if not known else 'is in several classes'}"


def wrong_commands(found: list[Command]) -> Iterator[str]:
    for one in found:
        place = f"{one.page}:{one.line}: {one.text!r}"
        done = subprocess.run(["bash", "-n", "-c", one.text], capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{place}: {done.stderr.strip()}"
            continue
        try:
            for words in nmt_words(one.text):
                for verb in VERBS if "VERB" in words else ("",):
                    read([verb if word == "VERB" else word for word in words], whole=not one.inline)
        except Exception as error:  # of whatever kind the parser raises
            yield f"{place}: {error}"
        for name in re.findall(r"(?<![\w./-])(?:trainers|orchestrator|experiments|infra|tests)/[\w./-]+", one.text):
            if name not in MADE_BY_READERS and not (ROOT / name).exists():
                yield f"{place}: {name} is no file"
        for key, value in re.findall(r"--set ([\w.]+)=(\S+)", one.text):
            try:
                check_key(key, None if value in ("…", "VALUE") or key.isupper() else value)
            except ValueError as error:
                if key != "KEY":
                    yield f"{place}: {error}"
        if program(one.text) == "make":
            for word in shlex.split(one.text)[1:]:
                if re.fullmatch(r"[a-z]+", word) and word not in TARGETS:
                    yield f"{place}: the Makefile has no target {word}"


TARGETS = " ".join(re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)).split()


def nmt_words(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every ``nmt`` in a command: at its start, after ``--``, or in quotes for a remote one."""
    words = shlex.split(text)
    for before, word, at in zip(["--", *words], words, range(len(words)), strict=False):
        if before == "--" and Path(word).name == "nmt":
            yield words[at + 1 :]
        elif " " in word and word.startswith("nmt "):
            yield from nmt_words(word)


def read(words: list[str], whole: bool) -> list[str]:
    """Parse a command line without executing it, and return its verbs; raise where the program would refuse it.

    Args:
        words: The words after ``nmt``.
        whole: Whether arguments are required.
    """
    command: Any = NMT
    context = typer.Context(command, info_name="nmt")
    verbs: list[str] = []
    while words and hasattr(command, "list_commands"):
        if words == ["…"]:
            return verbs
        if words[0] not in command.list_commands(context):
            raise ValueError(f"{' '.join(words)}: no such verb")
        command = command.get_command(context, words[0])
        context = typer.Context(command, info_name=words[0], parent=context)
        verbs.append(words[0])
        words = words[1:]
    if whole:
        command.make_context(verbs[-1], list(words), parent=context.parent)
    else:
        command.make_parser(context).parse_args(list(words))
    return verbs


# --- the checks, page by page -----------------------------------------------------------------------------------------


class TestEveryPage:
    @of_each_page
    def test_lines(self, page: str) -> None:
        fail(list(wrong_lines(text_of(page), page)))

    @of_each_page
    def test_links(self, page: str) -> None:
        fail(list(wrong_links(text_of(page), page)))

    @of_each_page
    def test_names_of_files_and_keys(self, page: str) -> None:
        fail(list(wrong_names(text_of(page), page)))

    @of_each_page
    def test_blocks(self, page: str) -> None:
        fail(list(wrong_blocks(blocks_of(page), page)))

    @of_each_page
    def test_every_command_is_in_one_class(self, page: str) -> None:
        fail(list(wrong_classes(commands_of(page))))

    @of_each_page
    def test_commands_are_parsed(self, page: str) -> None:
        fail(list(wrong_commands(commands_of(page))))


# --- commands that are run --------------------------------------------------------------------------------------------


def first_page(text: str) -> str:
    """Return the page on which a command is run; the changelog only if no other has it."""
    found = [one.page for one in all_commands() if one.text == text]
    return min(found, key=lambda page: page == "CHANGELOG.md", default="")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return checkout(tmp_path_factory.mktemp("pages") / "no-more-tuning")


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({first_page(text) for text in HERE} - {""}))
def test_commands_run(page: str, copy: Checkout) -> None:
    """Run them in the order of the page, in one copy of the repository, as a reader would."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    texts = dict.fromkeys(one.text for one in commands_of(page) if one.text in HERE and first_page(one.text) == page)
    fail([f"{page}: {text!r}: {problem}" for text in texts if (problem := run(text, copy))])


def run(text: str, copy: Checkout) -> str | None:
    """Run a command; return what went wrong."""
    here = HERE[text]
    here.before(copy)
    done = copy.bash("\n".join([text, here.then]) if here.then else text, **here.variables)
    written = done.stdout + done.stderr
    if done.returncode:
        return f"exit status {done.returncode}\n{written}"
    if not re.search(here.says, written, re.MULTILINE):
        return f"does not write {here.says!r}\n{written}"
    if re.search(here.lacks, written):
        return f"writes {here.lacks!r}\n{written}"
    return None


class TestTheClasses:
    def test_no_entry_is_left_over(self) -> None:
        found = {one.text for one in all_commands()}
        fail([f"no page has {text!r} any more" for text in CLASSIFIED if text not in found])

    def test_another_test_takes_it_from_the_page(self) -> None:
        taken = [(text, file, words) for text, (file, words) in ELSEWHERE.items()]
        fail([f"{file} does not run {text!r}" for text, file, words in taken if words not in (ROOT / file).read_text()])

    @pytest.mark.slow
    def test_arguments_of_modules(self) -> None:
        """Parse all of them in one process, which stops there."""
        texts = sorted({one.text for one in all_commands() if one.text.startswith("python -m ")})
        assert len(texts) > 5
        words = [shlex.split(text)[2:] for text in texts if "--help" not in text]
        done = subprocess.run(
            [sys.executable, "-c", READ_ARGUMENTS, json.dumps(words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {" ".join(one): 0 for one in words}, done.stderr


READ_ARGUMENTS = """
import argparse, json, runpy, sys

parse = argparse.ArgumentParser.parse_args

def only_parse(parser, words=None, namespace=None):
    from nmt.experiments.benchmarks.suite import BENCHMARKS
    found = vars(parse(parser, words, namespace))
    unknown = [name for name in found.get("names", []) if name not in BENCHMARKS]
    sys.exit(f"no benchmark {unknown}" if unknown else 0)

argparse.ArgumentParser.parse_args = only_parse
ends = {}
for module, *words in json.loads(sys.argv[1]):
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        end = "it reads no arguments"
    except SystemExit as ended:
        end = ended.code
    except ImportError as error:
        end = str(error)
    ends[" ".join([module, *words])] = end
print(json.dumps(ends))
"""


# --- what pages say of the program ------------------------------------------------------------------------------------


def section(page: str, head: str) -> str:
    """Return the text below a heading, up to the next one of its level."""
    level = head.partition(" ")[0]
    found = text_of(page).partition(f"\n{head}\n")[2]
    assert found, f"{page} has no heading {head!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", found, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of all tables, without the lines below their heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [row for row in found if not re.fullmatch(r"-*", row[0])]


def leaves(command: Any = NMT, verbs: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every verb, also those of groups, with its command."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*verbs, name))
    if not hasattr(command, "commands"):
        yield verbs, command


class TestTheVerbs:
    TABLE = re.findall(
        r"^\| `nmt (\w+)([^`]*)` \| (.*) \|$", section("README.md", "## The command"), flags=re.MULTILINE
    )

    def test_the_table_has_every_verb(self) -> None:
        assert Counter(verb for verb, _, _ in self.TABLE) == Counter(NMT.list_commands(typer.Context(NMT)))
        listed = [row[0].strip("`") for row in rows(section("orchestrator/README.md", "## The verbs"))]
        assert {verb for verb, _, _ in self.TABLE} <= set(listed)

    def test_what_the_tables_say_of_a_verb_is_there(self) -> None:
        """Check options, and for groups their verbs and options."""
        described = [(verb, cell) for verb, _, cell in self.TABLE]
        described += [
            (row[0].strip("`"), row[1])
            for row in rows(section("orchestrator/README.md", "## The verbs"))
            if row[0].strip("`") in NMT.commands
        ]
        problems = []
        for verb, cell in described:
            for span in re.findall(r"`([^`]+)`", cell):
                words = span.split()
                try:
                    if verb in GROUPS:
                        assert read([verb, *words], whole=False) == [verb, words[0]] or verb == "submit"
                    elif span.startswith("--"):
                        needed = ["1"] if len(words) == 1 and takes_a_value(verb, words[0]) else []
                        read([verb, *words, *needed], whole=False)
                except Exception as error:  # of whatever kind the parser raises
                    problems.append(f"{verb}: {span}: {error}")
        fail(problems)

    def test_every_option_is_described(self) -> None:
        """On one of the pages, in inline code."""
        told = " ".join(code for page in pages() for code, _ in spans(text_of(page)))
        told += " ".join(one.text for one in all_commands())
        fail(
            [
                f"no page describes {option} of nmt {' '.join(verbs)}"
                for verbs, command in leaves()
                for parameter in command.params
                for option in [*parameter.opts, *parameter.secondary_opts]
                if option.startswith("--") and option != "--help" and not re.search(rf"{option}\b(?!-)", told)
            ]
        )

    def test_the_table_of_options(self) -> None:
        """Its options belong to the verbs in the second column; any other verb describes the option in its own row."""
        problems, whole, verbs_before = [], set(NMT.commands) - set(GROUPS), set()
        both = rows(section("orchestrator/README.md", "## The verbs"))
        table = [row for row in both if len(row) == 3]
        own = {row[0].strip("`"): row[1] for row in both if len(row) == 2}
        for options, of, _ in table[1:]:
            names = re.findall(r"`(--[\w-]+)", options)
            named = set(re.findall(r"`(\w+)`", of))
            if "all verbs" in of:
                verbs = whole - named
            elif "the same" in of:
                verbs = verbs_before | named
            else:
                verbs = named
            verbs_before = verbs
            for name in names:
                have = {verb for verb in whole if any(name in one.opts for one in NMT.commands[verb].params)}
                have -= {verb for verb in have - verbs if f"`{name}`" in own.get(verb, "")}
                if have != verbs - set(GROUPS):
                    problems.append(f"{name}: belongs to {sorted(have)}, the table has {sorted(verbs)}")
        fail(problems)


def takes_a_value(verb: str, option: str) -> bool:
    (found,) = (one for one in NMT.commands[verb].params if option in one.opts)
    return not found.is_flag


class TestTheExperimentFile:
    def test_the_table_has_every_key(self) -> None:
        table = rows(section("orchestrator/README.md", "## The experiment file").partition("###")[0])
        assert [row[0].strip("`") for row in table[1:]] == list(Experiment.model_fields)
        for key, cell, _ in table[1:]:
            name = key.strip("`")
            if name in ("data", "tasks", "grid", "compare", "scaling"):
                assert tuple(re.findall(r"`(\w+)`", cell)) == FIELDS[name], key
            elif name in FIELDS:
                assert set(re.findall(r"`(\w+)`", cell)) <= set(FIELDS[name]), key

    def test_the_table_of_recipes(self) -> None:
        (_, *names), *values = rows(section("orchestrator/README.md", "### Recipes"))
        assert [name.split("`")[1] for name in names] == list(RECIPES)
        assert [re.findall(r"`(\w+)`", row[0]) for row in values] == [
            ["joint_weight"],
            ["later_weight"],
            ["violations", "paired"],
            ["eta_lambda"],
            [],
            [],
        ]
        for place, recipe in enumerate(RECIPES.values(), 1):
            found = [row[place] for row in values]
            assert [float(found[0]), float(found[1]), float(found[3])] == [
                recipe.joint_weight,
                recipe.later_weight,
                recipe.eta_lambda,
            ]
            assert found[2] == f"`{recipe.violations}`"
            assert found[4] == ("relative to L*" if recipe.relative else "absolute")
            assert found[5] == f"{recipe.backtracks}, {recipe.retreats}"

    def test_the_tables_of_components_are_the_registry(self) -> None:
        models = rows(section("orchestrator/README.md", "### Models"))[1:]
        assert {row[0].strip("`") for row in models} == set(MODELS)
        for name, _, options in models:
            given = re.findall(r"`(\w+)`", options.partition("in place of")[0])
            check_options(name, resolve("model", name.strip("`"), MODELS), given, ("schema", "tasks"))
        losses = rows(section("orchestrator/README.md", "### Losses and metrics"))[1:]
        shown = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in losses}
        assert {loss: metrics[0] for loss, metrics in shown.items()} == METRIC_OF_LOSS
        assert {metric for metrics in shown.values() for metric in metrics} == set(METRICS)

    def test_options_of_an_own_table_are_all_there(self) -> None:
        (block,) = blocks_of("experiments/data/README.md", "yaml")
        options = yaml.safe_load(block.text)["data"]["options"]
        source = inspect.signature(import_module("experiments.data.table").prepare)
        assert set(options) == {one.name for one in source.parameters.values() if one.kind is one.KEYWORD_ONLY}


def test_the_loop() -> None:
    """With the reader's losses and optimizer filled in, λ follows the rule."""
    (block,) = blocks_of("README.md", "python")
    theta = torch.tensor(1.0, requires_grad=True)
    names: dict[str, Any] = {
        "protected_loss": theta**2,
        "objective_loss": (theta - 2) ** 2,
        "optimizer": torch.optim.SGD([theta], lr=0.1),
    }
    exec(compile(block.text, f"README.md:{block.line}", "exec"), names)
    assert names["multipliers"].values.tolist() == pytest.approx([1 + 0.05 * (1 - 0.052)])
    # (1 · 2θ + 2(θ − 2)) / (1 + 1) is 0 at θ = 1: λ = 1 weighs both alike.
    assert theta.item() == pytest.approx(1.0)


def test_fields_of_the_log_have_their_names() -> None:
    """The program writes every field of the example."""
    (block,) = (block for page in pages() for block in blocks_of(page, "json"))
    written = "".join((ROOT / name).read_text() for name in files() if re.match(r"orchestrator/.*\.py$", name))
    names = re.findall(r'"(\w+)": ', block.text)
    assert len(names) > 15
    for name in set(names) - {"pay"}:  # a task
        assert f'"{name}"' in written or f"{name}=" in written, name


def test_no_file_names_the_host_of_a_package_index() -> None:
    """pip's own configuration names it."""
    hosts = re.compile(r"\bpypi\.org|\bpythonhosted\.org|download\.pytorch\.org|--(?:extra-)?index-url[ =]\S*https?:")
    ours = [name for name in files() if name != "tests/test_documents.py"]
    texts = {name: (ROOT / name).read_bytes().decode(errors="ignore") for name in ours}
    fail([f"{name}: {found[0]}" for name, text in texts.items() if (found := hosts.search(text))])


# --- the checks can fail ----------------------------------------------------------------------------------------------


class TestThatTheChecksCanFail:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("no title", "1: begins without a title"),
            ("# A\n" + "x" * 120, "2: ends at column 120"),
            ("# A\n[x](nowhere.md)", "2: links to nowhere.md, which is not there"),
            ("# A\n[x](README.md#no-heading)", "2: links to README.md#no-heading, and there is no such heading"),
            ("# A\n`trainers/nowhere.py`", "2: trainers/nowhere.py is no file"),
            ("# A\n`training.eta_lamda`", "2: training.eta_lamda: training has no eta_lamda"),
            ("# A\n`training.patience: soon`", "2: training.patience: soon: 1 validation error"),
            ("# A\n`violations: sometimes`", "2: violations: sometimes: 1 validation error"),
            ("# A\n`training.record_every`", "2: training.record_every: training has no record_every"),
            ("# A\n`record_every: often`", "2: record_every: often: 1 validation error"),
            ("# A\n```yaml\ntrainig: {}\n```", "trainig\n  Extra inputs are not permitted"),
            ("# A\n```yaml\nmodel: {name: mmoe, expert: 3}\n```", "unknown key 'expert' of model"),
            ("# A\n```yaml\ndata: {source: experiments.data.table, options: {label: [x]}}\n```", "unknown key 'label'"),
            ("# A\n```python\nx = = 1\n```", "invalid syntax"),
            ("# A\n```ruby\nx\n```", "found 'ruby'"),
            ("# A\n```bash\nnmt rnu x.yaml\n```", "no such verb"),
            ("# A\n```bash\nnmt run x.yaml --sett a=1\n```", "No such option: --sett"),
            ("# A\n```bash\nnmt run\n```", "Missing parameter: file|Missing argument"),
            ("# A\n`nmt run --greedy`", "No such option: --greedy"),
            ("# A\n```bash\nnmt run x.yaml --set training.eta=1\n```", "training has no eta"),
            ("# A\n```bash\nnmt run experiments/nowhere.yaml\n```", "experiments/nowhere.yaml is no file"),
            ("# A\n```bash\nmake tea\n```", "no target tea"),
            ("# A\n```bash\necho (x\n```", "syntax error"),
            ("# A\n```bash\necho new\n```", "'echo new' is in no class"),
            ("# A\n`make new`", "'make new' is in no class"),
        ],
    )
    def test_a_planted_mistake(self, text: str, told: str) -> None:
        found = [*wrong_lines(text, "x.md"), *wrong_links(text, "x.md"), *wrong_names(text, "x.md")]
        found += wrong_blocks(list(blocks(text, "x.md")), "x.md")
        found += [*wrong_classes(commands(text, "x.md")), *wrong_commands(commands(text, "x.md"))]
        assert re.search(told, "\n".join(found)), found

    def test_a_page_without_a_mistake(self) -> None:
        text = (
            "# A\n\n[x](README.md#two-commands) `trainers/registry.py` `training.patience: null` `nmt run FILE` `nmt`\n"
        )
        assert not [*wrong_lines(text, "x.md"), *wrong_links(text, "x.md"), *wrong_names(text, "x.md")]
        assert not [*wrong_classes(commands(text, "x.md")), *wrong_commands(commands(text, "x.md"))]

    def test_a_command_that_does_not_do_it(self, copy: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
        for text, reason in {"exit 3": "exit status 3", "echo": "does not write 'y'", "echo yx": "writes 'x'"}.items():
            monkeypatch.setitem(HERE, text, type(HERE["make"])(says="y", lacks="x"))
            assert reason in (run(text, copy) or "")

    @pytest.mark.parametrize("words", ["run x.yaml --set", "submit swep x.yaml", "data list x"])
    def test_it_refuses_what_nmt_would(self, words: str) -> None:
        with pytest.raises(Exception, match=r"(?i)no such|requires|unexpected"):
            read(words.split(), whole=True)


class TestTheExtractor:
    def test_pages_are_found(self) -> None:
        assert {"README.md", "CHANGELOG.md", "infra/RUNBOOK.md", "trainers/METHOD.md"} <= set(pages())

    def test_it_finds_what_is_typed(self) -> None:
        text = """Say `nmt run
FILE`, but `nmt` solves and `nmt/cli.py` is a file.

```bash
one --a "# no comment" 'x'    # a comment's comment
two \\
  --more
three 'over
  two lines'
```

```yaml
name: it has no command
```

    X=1 four

`A=1 make it`, `make`, `.venv/bin/ruff`
"""
        found = [(one.text, one.line, one.inline) for one in commands(text, "some.md")]
        assert found == [
            ("one --a \"# no comment\" 'x'", 5, False),
            ("two --more", 6, False),
            ("three 'over\n  two lines'", 8, False),
            ("X=1 four", 16, False),
            ("nmt run FILE", 1, True),
            ("A=1 make it", 18, True),
            ("make", 18, True),
            (".venv/bin/ruff", 18, True),
        ]

    def test_it_finds_nmt_in_other_commands(self) -> None:
        assert list(nmt_words("kubectl -n nmt get pods")) == []
        assert list(nmt_words("ray job submit -- nmt sweep x.yaml")) == [["sweep", "x.yaml"]]
        assert list(nmt_words("ray exec c.yaml 'nmt run\n  x.yaml'")) == [["run", "x.yaml"]]

    def test_it_finds_links_and_headings(self) -> None:
        text = "# Two *p^m* weights, `x`\n[a\nb](c.md#d) ![p](q.png)\n```bash\n[no](link)\n# no heading\n```\n"
        assert list(links(text)) == [("c.md#d", 2), ("q.png", 3)]
        assert anchors(text) == {"two-pm-weights-x"}
