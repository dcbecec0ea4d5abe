"""The note on an experiment's page in MLflow: what its runs are, and how their costs are read."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.spec.task import Task

TAG = "mlflow.note.content"

BEGIN = "<!-- nmt writes from here -->"
END = "<!-- to here; what stands outside is yours -->"

# A paragraph a line: MLflow keeps the breaks of a line that is folded.
_TEXT = (
    "**[NMT against grid]({view})** shows the sweeps and grids of this experiment side by side:",
    " what each task reached, and what it cost.\n",
    "\nTasks by priority, with the metric that is meant below: {tasks}.\n",
    "\n* A **sweep** is NMT over its two learning rates; it holds chains, and they a stage for each priority.",
    "\n* A **grid** is loss weights instead; it holds a run for each weighting.",
    "\n* A **comparison** sets named methods beside both.",
    "\n* `best/TASK` is the best validation metric of the task in any trial so far;",
    " two tasks may owe theirs to two trials.",
    "\n* `winner/TASK` is the validation metric of the one trial that wins so far,",
    " the tasks being compared in order of priority.",
    "\n* `cost/…` is what was really spent.",
    " `cost/samples` counts training examples over all workers, and depends on no machine.",
    "\n* `cost/stages_reused` and `cost/samples_reused` were not spent, since trials share stages.",
    " Spent and reused together are what the trials would have cost alone.",
    "\n* A grid that was limited has the cost of its trials that ran;",
    " what all of it would cost is extrapolated, called so, and in no `cost/…`.",
)


def note(tasks: Sequence[Task], view: str) -> str:
    """The note.

    Args:
        tasks: The tasks, highest priority first.
        view: Fragment of the address at which "NMT against grid" opens.
    """
    metrics = {task.name: task.metric.rpartition(":")[2] for task in tasks}
    named = ", ".join(f"`{name}` ({metric})" if metric else f"`{name}`" for name, metric in metrics.items())
    return "\n".join((BEGIN, "".join(_TEXT).format(view=view, tasks=named), END))


def merged(found: str, tasks: Sequence[Task], view: str) -> str | None:
    """What the note shall be, or ``None`` where it shall stay: a note that somebody else wrote, or ours of before.

    Args:
        found: The note that is there, or nothing.
        tasks: As in :func:`note`.
        view: As in :func:`note`.
    """
    ours = note(tasks, view)
    if not found.strip():
        return ours
    before, begin, rest = found.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        return None
    wanted = before + ours + after
    return None if wanted == found else wanted
