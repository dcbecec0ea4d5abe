"""Invalid requests end with status 2 before Ray starts, and name the key to change."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nmt.orchestrator.cli import app as cli
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment import preflight
from nmt.orchestrator.experiment.data_source import prepare as prepare_data
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.prepared import prepare
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema
from tests.orchestrator._commands import in_this_process
from tests.orchestrator.conftest import Command

SETTINGS = [
    ("training.eta_lamda=0.1", r"training\.eta_lamda: unknown key \(did you mean 'eta_lambda'\?\); allowed: recipe, "),
    ("frobnicate=1", r"frobnicate: unknown key; allowed: name, data, tasks"),
    ("data.colour=red", r"data\.colour: unknown key; allowed: source, path"),
    ("tasks.0.weight=2", r"tasks\.0\.weight: unknown key; allowed: name, loss, label"),
    ("sweep.units=[1]", r"sweep: only eta_theta and eta_lambda are swept, found units: the method has no other value"),
    ("sweep.batch_size=[32]", "found batch_size: .* trials share stages because nothing else differs; set it in its"),
    ("sweep.eta_theta=[0.1, 0.1]", r"sweep\.eta_theta: values must differ"),
    ("sweep.eta_lambda=[0]", r"sweep\.eta_lambda\.0: .*greater than 0"),
    ("grid.points=1", r"grid\.points: .*greater than or equal to 2 \(found 1\)"),
    ("grid.limit=0", r"grid\.limit: .*greater than or equal to 1 \(found 0\)"),
    ("compare.methods=[famo,nmt,famo]", "methods must differ, found famo more than once"),
    ("compare.methods=[fmo]", "unknown method 'fmo'; allowed: nmt, weighted_sum, famo"),
    ("tune.workers_per_trial=0", r"tune\.workers_per_trial: .*greater than or equal to 1 \(found 0\)"),
    ("tune.max_failures=-1", r"tune\.max_failures: .*greater than or equal to 0 \(found -1\)"),
    ("tune.time_budget_s=0", r"tune\.time_budget_s: .*greater than 0"),
    ("tune.trials=3", r"tune\.trials: unknown key; allowed: workers_per_trial"),
    ("training.eta_theta=0", "eta_theta must be a finite number greater than 0, found 0"),
    ("training.eta_lambda=.nan", "eta_lambda must be a finite number greater than 0, found nan"),
    ("training.max_epochs=1.5", r"training\.max_epochs: .*integer"),
    ("training.recipe=printed", r"training\.recipe: .*'joint' or 'paper' \(found 'printed'\)"),
    ("training.violations=both", r"training\.violations: .*'held_out', 'minibatch' or 'paired' \(found 'both'\)"),
    ("training.joint_weight=1.5", "joint_weight must be a finite number at least 0 and at most 1, found 1.5"),
    ("training.later_weight=-0.3", r"later_weight must be a finite number at least 0, found -0\.3"),
    ("training.accept_on=auc", r"training\.accept_on: .*'loss' or 'metric' \(found 'auc'\)"),
    ("training.accept_standard_errors=-1", "accept_standard_errors must be a finite number at least 0, found -1"),
    ("data.batch_size=0", r"data\.batch_size: .*greater than or equal to 1 \(found 0\)"),
    ("scaling.workers=0", r"scaling\.workers: .*greater than or equal to 1 \(found 0\)"),
    ("tasks=[]", "at least one task is needed"),
    ("tasks.1.name=pay", "task names must differ, found pay more than once"),
    ("tasks.0.name=a/b", r"a task's name must be non-empty and without / \[ \], found 'a/b'"),
    ("tasks.0.tolerance=-0.1", r"tolerance must be a finite number of at least 0, found -0\.1"),
    ("tasks.0.loss=hinge", "unknown loss 'hinge'; allowed: binary_cross_entropy, cross_entropy, pairwise"),
    ("tasks.0.loss=nowhere:loss", "loss 'nowhere:loss' cannot be imported: No module named 'nowhere'; is it on the Py"),
    ("tasks.0.loss=math:sine", r"loss 'math:sine': module math has no 'sine' \(did you mean 'sin"),
    ("tasks.0.loss=math:pi", "loss 'math:pi' is a float, not a callable"),
    (
        "tasks.0.loss=tests.trainers._own_losses:of_two_tensors",
        r"of_two_tensors' of task 'pay' cannot be called with \(output, label, batch\) and its options: too many",
    ),
    ("tasks.0.metric=acuracy", r"unknown metric 'acuracy' \(did you mean 'accuracy'\?\); allowed: accuracy, auc"),
    ("tasks.0.label=paying", r"label 'paying' of task 'pay' is not in the data \(did you mean 'pay'\?\)"),
    ("tasks.2.label=unlabelled", "task 'relevance' has no labels: column 'unlabelled' is empty in split 'train'"),
    (
        "tasks.2.label=constant",
        "pairwise_logistic of task 'relevance' needs two different labels or more: .* 'constant' .* has 1 in every row",
    ),
    ("tasks.1.loss=binary_cross_entropy", r"needs labels in \[0, 1\]; column 'amount' of split 'train' has"),
    ("tasks.1.loss=cross_entropy", "cross_entropy of task 'amount' needs classes, and the label is declared real-val"),
    ("tasks.0.options.margin=1", "unknown key 'margin' of tasks: loss 'pairwise_logistic'"),
    ("tasks.0.options.output=1", "unknown key 'output' of tasks: loss 'pairwise_logistic'"),
    ("model=scorer", r"model: .*dictionary"),
    ("model.name=scoer", r"unknown model 'scoer' \(did you mean 'scorer'\?\)"),
    ("model.unit=[8]", r"unknown key 'unit' of model 'scorer' \(did you mean 'units'\?\); allowed: embed"),
    ("model.embedding_dim=0", "embedding_dim must be a whole number of at least 1, found 0"),
    ("model.name=nowhere:Model", "model 'nowhere:Model' cannot be imported: No module named 'nowhere'"),
    ("model.name=math:Model", "module math has no 'Model'"),
    ("data.path=/nowhere", r"/nowhere is not a prepared data set \(no schema\.json in it\)"),
    ("data.source=nowhere.at_all", "data.source 'nowhere.at_all' cannot be imported"),
    ("data.source=math", "module math has no function 'prepare'"),
    ("data.options.visits=3", "'options' belong to a 'source', and none is given"),
    ("storage=/proc/nowhere", "storage: /proc/nowhere cannot be written to"),
    ("training.eta_lambda", r"--set takes key=value, such as training\.eta_lambda=0\.1"),
    ("tasks.7.name=x", r"tasks\.7 is not one of the 3 entries 0 to 2"),
    ("name.first=x", "name is a value and has no key 'first'"),
    ("scaling.workers={min: 3, max: 2}", "min must not be greater than max, found min 3 and max 2"),
    ("scaling.workers={min: 0, max: 2}", r"scaling\.workers\.min: .*greater than or equal to 1 \(found 0\)"),
    (
        "scaling.workers=many",
        r"scaling\.workers: give a whole number, or a range such as \{min: 1, max: 8\}; found 'many'",
    ),
    ("scaling.max_failures=-1", r"scaling\.max_failures: .*greater than or equal to 0 \(found -1\)"),
    ("scaling.hang_timeout_s=0", r"scaling\.hang_timeout_s: .*greater than 0"),
    ("scaling.placement_timeout_s=0", r"scaling\.placement_timeout_s: .*greater than 0"),
    ("execution.checkpoint_every=-5", "checkpoint_every must be a finite number at least 0, found -5"),
    ("execution.record_evry=5", r"execution\.record_evry: unknown key \(did you mean 'record_every'\?\); allowed: com"),
    ("training.method=nmt+torchjd:Upgrad", r"torchjd has no aggregator 'Upgrad' \(did you mean 'UPGrad'\?\)"),
    ("data.ingest=disk", r"data\.ingest: .*'memory' or 'stream' \(found 'disk'\)"),
    ("storage=s4://bucket/folder", "storage: s4://bucket/folder cannot be written to .*; give a folder or URI"),
    ("tracking=mlruns", r"tracking: .*sqlite:///mlflow\.db"),
]


@pytest.mark.parametrize(("setting", "message"), SETTINGS, ids=[setting for setting, _ in SETTINGS])
def test_an_invalid_setting_is_refused_by_its_key(
    experiment_file: Path,
    setting: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["nmt", "plan", str(experiment_file), "--set", setting])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert re.search(message, said.err), said.err
    assert "Traceback" not in said.err


def test_a_valid_file_is_accepted(experiment_file: Path) -> None:
    prepared = prepare(str(experiment_file), ["training.eta_theta=1e-2"], lambda line: None)
    assert prepared.experiment.training.eta_theta == 0.01
    assert [task.name for task in prepared.spec.tasks] == ["pay", "amount", "relevance"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2", "is not valid YAML"), ("- a\n- b", "holds a list, expected keys"), ("name: x", "data: missing")],
)
def test_a_file_that_is_not_an_experiment(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        load(str(path))


def test_a_missing_file_lists_the_files_beside_it(experiment_file: Path) -> None:
    with pytest.raises(RequestError, match=r"no such experiment file: .*other\.yaml; there is .*experiment\.yaml"):
        load(str(experiment_file.with_name("other.yaml")))


def test_a_source_does_not_prepare_data_at_a_uri(
    experiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(str(experiment_file), ["storage=s3://bucket/runs", "data={source: experiments.data.toxcast}"])
    with pytest.raises(RequestError, match=r"data\.cache is s3://bucket/runs/data, .*set data\.cache to a folder"):
        prepare_data(experiment.data)
    assert not (tmp_path / "s3:").exists()


def test_a_truncated_shard_is_refused(ranking_folder: Path, experiment_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(ranking_folder, folder)
    shard = folder / "train" / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(RequestError, match=r"part-00000\.parquet is not a whole Parquet file"):
        prepare(str(experiment_file), [f"data.path={folder}"], lambda line: None)


def test_an_empty_split_is_refused(ranking_folder: Path, experiment_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(ranking_folder, folder)
    shard = folder / "valid" / "part-00000.parquet"
    pq.write_table(pq.read_schema(shard).empty_table(), shard)
    schema = (folder / "schema.json").read_text()
    (folder / "schema.json").write_text(schema.replace('"valid": 500', '"valid": 0'))
    with pytest.raises(RequestError, match="split 'valid' is empty"):
        prepare(str(experiment_file), [f"data.path={folder}"], lambda line: None)


def declare(experiment_file: Path, folder: Path, **task: object) -> None:
    """Rewrite the experiment file: one task on other prepared data."""
    content = yaml.safe_load(experiment_file.read_text())
    content["data"] = {"path": str(folder)}
    content["tasks"] = [{"name": "task", **task}]
    experiment_file.write_text(yaml.safe_dump(content))


def prepare_rows(folder: Path, values: Sequence[float | None], classes: int) -> Path:
    """Write a prepared data set with these labels in every split, without the checks of a source."""
    table = pa.table({"x": [float(i) for i in range(len(values))], "task": pa.array(values, pa.float32())})
    schema = Schema(numeric={"x": Numeric()}, labels={"task": classes})
    write(folder, schema, {split: [table.slice(0, 1), table.slice(1)] for split in SPLITS})
    return folder


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ({"loss": "pairwise_logistic"}, "pairwise_logistic"),
        ({"loss": "binary_cross_entropy", "metric": "grouped_auc"}, "grouped_auc"),
        ({"loss": "squared_error", "metric": "pair_accuracy"}, "pair_accuracy"),
    ],
)
def test_listwise_losses_and_metrics_need_a_query_column(
    experiment_file: Path, tmp_path: Path, task: dict[str, str], named: str
) -> None:
    declare(experiment_file, prepare_rows(tmp_path / "rows", [0, 1, None], 2), **task)
    with pytest.raises(RequestError) as refused:
        prepare(str(experiment_file), [], lambda line: None)
    assert str(refused.value) == (
        f"tasks: {named} of task 'task' compares rows of one list, and the data has no query column; "
        "choose another, or prepare the data with a query column"
    )


OWN_LOSS = "tests.trainers._own_losses:absolute_error"


@pytest.mark.parametrize(
    ("loss", "classes", "values", "message"),
    [
        ("binary_cross_entropy", 2, [1, 1, None], "needs two different labels or more: there is nothing to learn"),
        ("binary_cross_entropy", 2, [0, 1, 2], r"needs labels in [0, 1]; column 'task' of split 'train' has 0 to 2"),
        ("cross_entropy", 3, [2, 2, None], "needs two different labels or more: there is nothing to learn from one"),
        ("cross_entropy", 3, [0, 1, 3], "needs whole numbers from 0 to 2; column 'task' of split 'train' has 0 to 3"),
        ("cross_entropy", 3, [-1, 1, 2], "needs whole numbers from 0 to 2; column 'task' of split 'train' has -1 to 2"),
        ("cross_entropy", 3, [0, 2, 0.5, None], "needs whole numbers from 0 to 2, found 0.5; column 'task' of split"),
        ("cross_entropy", 0, [0, 1, 2], "needs classes, and the label is declared real-valued; declare its number"),
        ("squared_error", 0, [0, 1, float("inf")], "needs finite labels; column 'task' of split 'train' has 0 to inf"),
        ("squared_error", 0, [float("-inf"), 1], "needs finite labels; column 'task' of split 'train' has -inf to 1"),
    ],
)
def test_unusable_labels_are_refused_once(
    experiment_file: Path, tmp_path: Path, loss: str, classes: int, values: Sequence[float | None], message: str
) -> None:
    declare(experiment_file, prepare_rows(tmp_path / "rows", values, classes), loss=loss)
    with pytest.raises(RequestError) as refused:
        prepare(str(experiment_file), [], lambda line: None)
    assert str(refused.value).startswith(f"tasks: {loss} of task 'task' {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("loss", "classes", "values"),
    [
        ("binary_cross_entropy", 0, [0, 0.25, 1]),
        ("cross_entropy", 3, [0, 1, None]),
        ("cross_entropy", 2, [0, 1]),
        ("squared_error", 0, [7, 7, None]),
        ("squared_error", 2, [-0.5, 1e30]),
        (OWN_LOSS, 2, [1, 1]),
        (OWN_LOSS, 0, [-3, 5]),
    ],
)
def test_usable_labels_pass(
    experiment_file: Path, tmp_path: Path, loss: str, classes: int, values: Sequence[float | None]
) -> None:
    declare(experiment_file, prepare_rows(tmp_path / "rows", values, classes), loss=loss)
    assert prepare(str(experiment_file), [], lambda line: None).spec.tasks[0].loss == loss


def test_options_of_a_users_own_loss(experiment_file: Path, tmp_path: Path) -> None:
    folder = prepare_rows(tmp_path / "rows", [0, 1], 2)
    declare(experiment_file, folder, loss=OWN_LOSS, options={"scale": 2.0})
    assert prepare(str(experiment_file), [], lambda line: None).spec.tasks[0].options == {"scale": 2.0}
    declare(experiment_file, folder, loss=OWN_LOSS, options={"scal": 2.0})
    with pytest.raises(RequestError, match=r"unknown key 'scal' of .* \(did you mean 'scale'\?\)"):
        prepare(str(experiment_file), [], lambda line: None)


def test_too_many_workers_are_refused_with_the_number_of_cpus() -> None:
    scaling = load_scaling(workers=3, cpus=2.0)
    with pytest.raises(RequestError, match="3 workers of 2 CPU need 6 CPUs, and this machine has 4; use at most 2"):
        preflight.check_resources(scaling, {"CPU": 4.0}, "this machine")
    preflight.check_resources(scaling, {"CPU": 6.0}, "this machine")


def test_a_missing_gpu_is_refused() -> None:
    scaling = load_scaling(workers=1, cpus=1.0, use_gpu=True)
    with pytest.raises(RequestError, match=r"1 workers need 1 GPUs, and this machine has 0; set scaling\.use_gpu"):
        preflight.check_resources(scaling, {"CPU": 4.0}, "this machine")


def test_compiled_steps_need_a_compiler(experiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load(str(experiment_file))
    compiled = load(str(experiment_file), ["execution.compile=true"])
    preflight.check_local_compiler(compiled)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    preflight.check_local_compiler(plain)
    with pytest.raises(RequestError, match=r"execution\.compile: .* no compiler \(looked for \$CXX, g\+\+ and clang"):
        preflight.check_local_compiler(compiled)


def load_scaling(workers: int, cpus: float, use_gpu: bool = False) -> preflight.Scaling:
    return preflight.Scaling(workers=workers, cpus_per_worker=cpus, use_gpu=use_gpu)


def test_the_command_ends_with_status_2_and_starts_nothing(nmt: Command, experiment_file: Path) -> None:
    done = nmt("run", str(experiment_file), "--set", "training.eta_lamda=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "training.eta_lamda: unknown key (did you mean 'eta_lambda'?)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (experiment_file.parent / "runs" / "ray").exists()


def test_a_run_with_too_many_workers_ends_with_status_2(experiment_file: Path, tmp_path: Path) -> None:
    done = in_this_process(["run", str(experiment_file), "--set", "scaling.workers=4096"], tmp_path)
    assert done.returncode == 2
    assert "4096 workers of 1 CPU need 4096 CPUs, and this machine has" in done.stderr


def test_an_unknown_verb_or_option_ends_with_status_2(tmp_path: Path) -> None:
    for words in (["frobnicate"], ["run", "--frobnicate"]):
        done = in_this_process(words, tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "frobnicate" in done.stderr
