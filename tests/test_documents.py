"""README, CONTRIBUTING and ``infra/README.md``, followed word by word: what they tell a reader to type is typed here.

Every command is in exactly one of three classes, so that a new or changed one has to be thought of: it is given here
(``_here.py``), by another test, or it cannot be given (``_not_here.py``, with the reason). The words of all are read.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
import yaml

from orchestrator.cli.app import app
from orchestrator.experiment.sections import Experiment

from ._checkout import Checkout, checkout
from ._documents import DOCUMENTS, ROOT, Command, all_blocks, all_commands, commands
from ._here import HERE
from ._not_here import CANNOT, ELSEWHERE

COMMANDS = all_commands()
VERBS = (ROOT / "README.md").read_text().partition("## The command\n")[2].partition("\n## ")[0]
GROUPS = ("data", "submit")


@pytest.fixture
def copy(tmp_path: Path) -> Checkout:
    return checkout(tmp_path / "no-more-tuning")


class TestTheClasses:
    def test_every_command_is_in_one(self) -> None:
        classified = Counter([*HERE, *ELSEWHERE, *(text for texts in CANNOT.values() for text in texts)])
        found = {one.text: f"{one.document}:{one.line}" for one in COMMANDS}
        unknown = {text: place for text, place in found.items() if text not in classified}
        assert not unknown, "give them in _here.py, or say in _not_here.py why not"
        assert set(classified) - set(found) == set(), "no document has them any more"
        assert [text for text, times in classified.items() if times > 1] == []

    @pytest.mark.parametrize("text", ELSEWHERE)
    def test_another_test_takes_it_from_the_document(self, text: str) -> None:
        file, words = ELSEWHERE[text]
        assert words in (ROOT / file).read_text()

    def test_every_block_is_of_a_language_that_is_followed(self) -> None:
        for document in DOCUMENTS:
            for block in all_blocks(document):
                assert block.language in ("bash", "python", "yaml", "json"), f"{document}:{block.line}"
                assert document == "README.md" or block.language == "bash", f"{document}:{block.line}"


def test_fields_of_the_log_have_their_names() -> None:
    """The example line of README has no field that the program does not write."""
    (block,) = (block for block in all_blocks("README.md") if block.language == "json")
    written = "".join(path.read_text() for path in sorted((ROOT / "orchestrator").rglob("*.py")))
    names = re.findall(r'"(\w+)": ', block.text)
    assert len(names) > 15
    for name in set(names) - {"pay"}:  # a task
        assert f'"{name}"' in written or f"{name}=" in written, name


def marked(text: str) -> Any:
    return pytest.param(text, marks=[pytest.mark.slow] if HERE[text].slow else [])


@pytest.mark.parametrize("text", [marked(text) for text in HERE])
def test_given_here(text: str, copy: Checkout) -> None:
    here = HERE[text]
    if "make" in text.split() and shutil.which("make") is None:
        pytest.skip("there is no make here")
    here.before(copy)
    done = copy.bash("\n".join([text, here.then]) if here.then else text, **here.variables)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(here.says, said, re.MULTILINE), said
    assert not re.search(here.lacks, said), said


def nmt_words(text: str) -> Iterator[list[str]]:
    """The arguments of every ``nmt`` in a command: it begins so, after ``--``, or in words for another machine."""
    words = shlex.split(text)
    for before, word, at in zip(["--", *words], words, range(len(words)), strict=False):
        if before == "--" and Path(word).name == "nmt":
            yield words[at + 1 :]
        elif " " in word and word.startswith("nmt "):
            yield from nmt_words(word)


def read(words: list[str], whole: bool) -> list[str]:
    """Read a command line without executing it: the verbs that it names; an error where the program would refuse it.

    Args:
        words: What stands behind ``nmt``.
        whole: Arguments may not be left out.
    """
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="nmt")
    verbs: list[str] = []
    while words and hasattr(command, "list_commands"):
        if words == ["…"]:
            return verbs
        assert words[0] in command.list_commands(context), f"{' '.join(words)}: no such verb"
        command = command.get_command(context, words[0])
        context = typer.Context(command, info_name=words[0], parent=context)
        verbs.append(words[0])
        words = words[1:]
    if whole:
        command.make_context(verbs[-1], list(words), parent=context.parent)
    else:
        command.make_parser(context).parse_args(list(words))
    return verbs


class TestTheWords:
    @pytest.mark.parametrize("text", sorted({one.text for one in COMMANDS}))
    def test_bash_reads_it(self, text: str) -> None:
        done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("one", COMMANDS, ids=lambda one: f"{one.document}:{one.line}")
    def test_nmt_reads_it(self, one: Command) -> None:
        for words in nmt_words(one.text):
            for verb in ("run", "sweep", "grid", "compare") if "VERB" in words else ("",):
                assert read([verb if word == "VERB" else word for word in words], whole=not one.inline)

    def test_files_are_there(self) -> None:
        for one in COMMANDS:
            for name in re.findall(r"(?<![\w./-])(?:experiments|infra|tests)/[\w./-]+", one.text):
                assert name == "infra/mlflow/.env" or (ROOT / name).exists(), f"{one.document}:{one.line}: {name}"

    @pytest.mark.slow
    def test_benchmarks_read_it(self) -> None:
        """All in one process, which parses their arguments and stops there."""
        texts = sorted({one.text for one in COMMANDS if one.text.startswith("python -m ")})
        assert len(texts) > 5
        words = [shlex.split(text)[2:] for text in texts if "--help" not in text]
        done = subprocess.run(
            [sys.executable, "-c", READ_ARGUMENTS, json.dumps(words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {" ".join(one): 0 for one in words}, done.stderr


READ_ARGUMENTS = """
import argparse, json, runpy, sys

parse = argparse.ArgumentParser.parse_args

def only_parse(parser, words=None, namespace=None):
    if "names" in (found := vars(parse(parser, words, namespace))):
        from experiments.benchmarks.suite import select
        select(found["names"])
    sys.exit(0)

argparse.ArgumentParser.parse_args = only_parse
ends = {}
for module, *words in json.loads(sys.argv[1]):
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        end = "it reads no arguments"
    except SystemExit as ended:
        end = ended.code
    ends[" ".join([module, *words])] = end
print(json.dumps(ends))
"""


class TestTheTableOfVerbs:
    ROWS = re.findall(r"^\| `nmt (\w+)([^`]*)` \| (.*) \|$", VERBS, flags=re.MULTILINE)

    def test_every_verb_is_told_of(self) -> None:
        command: Any = typer.main.get_command(app)
        assert Counter(verb for verb, _, _ in self.ROWS) == Counter(command.list_commands(typer.Context(command)))

    @pytest.mark.parametrize(("verb", "told"), [(verb, told) for verb, _, told in ROWS])
    def test_what_is_told_of_a_verb_is_there(self, verb: str, told: str) -> None:
        """Options, and the verbs of a group with theirs."""
        for span in re.findall(r"`([^`]+)`", told):
            group = verb in GROUPS
            if span.startswith("--") and not group:
                words = span.split()
                read([verb, *words, *(["1"] if len(words) == 1 and takes_a_value(verb, words[0]) else [])], whole=False)
            elif group:
                assert read([verb, *span.split()], whole=False) == [verb, span.split()[0]]


def takes_a_value(verb: str, option: str) -> bool:
    command: Any = typer.main.get_command(app)
    (found,) = (one for one in command.commands[verb].params if option in one.opts)
    return not found.is_flag


class TestOtherBlocks:
    def test_the_loop(self) -> None:
        """The losses and the optimizer of the reader are given; λ is then what the rule says."""
        (block,) = (block for block in all_blocks("README.md") if block.language == "python")
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

    def test_the_experiment_file_is_the_shipped_one_abridged(self) -> None:
        block, _ = (block for block in all_blocks("README.md") if block.language == "yaml")
        content = yaml.safe_load(block.text)
        Experiment.model_validate(content)
        shipped = yaml.safe_load((ROOT / "experiments" / "complete_journey.yaml").read_text())
        for section, value in content.items():
            kept = {key: shipped[section].get(key) for key in value} if isinstance(value, dict) else shipped[section]
            assert value == kept, section

    def test_a_table_of_ones_own(self, copy: Checkout) -> None:
        _, block = (block for block in all_blocks("README.md") if block.language == "yaml")
        content = yaml.safe_load(block.text) | {
            "name": "my-table",
            "tasks": [{"name": name, "loss": "binary_cross_entropy"} for name in ("like", "finish")],
            "model": {"name": "mmoe"},
        }
        (copy.folder / "my.yaml").write_text(yaml.safe_dump(content))
        split = ["train"] * 60 + ["valid"] * 20 + ["test"] * 20
        columns = {
            "split": split,
            "user": [f"u{row % 7}" for row in range(100)],
            "item": [row % 11 for row in range(100)],
            "age": [20.0 + row % 50 for row in range(100)],
            "like": [row % 2 for row in range(100)],
            "finish": [row % 3 % 2 for row in range(100)],
        }
        pq.write_table(pa.table(columns), copy.folder / "my.parquet")
        done = copy.bash("nmt plan my.yaml --json")
        assert done.returncode == 0, done.stderr
        plan = json.loads(done.stdout)
        assert plan["examples"] == {"train": 60, "valid": 20, "test": 20}
        assert [stage["protected"] for stage in plan["stages"]] == [[], ["like"]]


class TestTheExtractor:
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

    @pytest.mark.parametrize(
        "words", ["rnu x.yaml", "run x.yaml --sett a=1", "run x.yaml --set", "run", "submit swep x.yaml", "data list x"]
    )
    def test_it_refuses_what_nmt_would(self, words: str) -> None:
        with pytest.raises(Exception, match=r"(?i)no such|requires|missing|unexpected"):
            read(words.split(), whole=True)

    def test_it_finds_nmt_in_other_commands(self) -> None:
        assert list(nmt_words("kubectl -n nmt get pods")) == []
        assert list(nmt_words("ray job submit -- nmt sweep x.yaml")) == [["sweep", "x.yaml"]]
        assert list(nmt_words("ray exec c.yaml 'nmt run\n  x.yaml'")) == [["run", "x.yaml"]]
