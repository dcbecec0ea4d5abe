"""The description on an experiment's page in MLflow: what its runs are, and how to read their costs."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.trainers.spec.task import Task

TAG = "mlflow.note.content"

BEGIN = "<!-- nmt writes from here -->"
END = "<!-- to here; text outside is yours -->"

# One paragraph per line, since MLflow shows a line break as one.
_TEXT = (
    "**[NMT against grid]({view})** shows the sweeps and grids of this experiment side by side:",
    " what each task reached, and at what cost.\n",
    "\nTasks by priority, each with the metric used below: {tasks}.\n",
    "\n* A **sweep** is NMT over its two learning rates; it holds chains,",
    " and a chain holds one stage per priority level; in a stage 0 before them all tasks are trained together.",
    "\n* A **grid** tries loss weights instead; it holds one run per weighting.",
    "\n* A **comparison** adds named methods to both.",
    "\n* `best/TASK` is the best validation metric of the task in any trial so far;",
    " the best values of two tasks may come from two trials.",
    "\n* `winner/TASK` is the validation metric of the one trial that wins so far,",
    " the tasks being compared in order of priority.",
    "\n* `cost/…` is what was spent.",
    " `cost/samples` counts training examples over all workers; it does not depend on the machine.",
    "\n* `cost/stages_reused` and `cost/samples_reused` were saved, since trials share stages.",
    " Spent and reused together are what the trials would have cost without sharing.",
    "\n* A limited grid shows the cost of the trials that ran;",
    " the cost of the whole grid is extrapolated, labelled so, and in no `cost/…`.",
)


def note(tasks: Sequence[Task], view: str) -> str:
    """Return the description.

    Args:
        tasks: The tasks, highest priority first.
        view: Fragment of the address of the page "NMT against grid".
    """
    metrics = {task.name: task.metric.rpartition(":")[2] for task in tasks}
    names = ", ".join(f"`{name}` ({metric})" if metric else f"`{name}`" for name, metric in metrics.items())
    return "\n".join((BEGIN, "".join(_TEXT).format(view=view, tasks=names), END))


def merge_note(found: str, tasks: Sequence[Task], view: str) -> str | None:
    """Return the description to write, or ``None`` where the present one stays: it is the user's, or up to date.

    Args:
        found: The present description, empty if there is none.
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
