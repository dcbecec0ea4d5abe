"""Users' own hooks in a run."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.orchestrator.errors import RequestError, first_line
from nmt.orchestrator.terminal.output import Output
from nmt.trainers.registry import did_you_mean
from nmt.trainers.reporter import Evaluated, Event, StageFinished, StageStarted

HOOKS = {StageStarted: "on_stage_start", Evaluated: "on_evaluation", StageFinished: "on_stage_end"}
"""Event → the method that gets it."""


class Callback:
    """Hooks in a run; override those that you need. Any object with one of these methods serves as well.

    They are called one after the other, in the process that called ``nmt.run``, from a thread; training does not wait
    for them. An exception in a hook is reported, and nothing else happens. A stage that resumes after the loss of a
    worker starts again; one that is found in the storage only ends.
    """

    def on_stage_start(self, event: StageStarted) -> None:
        """A stage is about to be trained."""

    def on_evaluation(self, event: Evaluated) -> None:
        """A candidate was evaluated."""

    def on_stage_end(self, event: StageFinished) -> None:
        """A stage is finished: its record, and whether it was found in the storage."""


class Callbacks:
    """Hands events to the hooks of several objects.

    Args:
        callbacks: The objects.
        output: Reports exceptions.

    Raises:
        RequestError: An object has no hook, or one of an unknown name.
    """

    def __init__(self, callbacks: Sequence[object], output: Output) -> None:
        self._callbacks = tuple(callbacks)
        self._output = output
        for callback in self._callbacks:
            _check(callback)

    def handle(self, event: Event) -> None:
        """Call the hooks of an event."""
        name = HOOKS.get(type(event))
        for callback in self._callbacks if name is not None else ():
            hook = getattr(callback, str(name), None)
            if hook is None:
                continue
            try:
                hook(event)
            except Exception as error:  # the user's code; training goes on
                where = f"{type(callback).__name__}.{name}"
                text = f"{where} failed: {type(error).__name__}: {first_line(error)}; training goes on"
                self._output.say(text, "callback_failed", "warning", hook=where)


def _check(callback: object) -> None:
    names = list(HOOKS.values())
    there = [name for name in dir(callback) if name.startswith("on_")]
    if unknown := [name for name in there if name not in names]:
        near = did_you_mean(unknown[0], names)
        raise RequestError(f"{type(callback).__name__} has an unknown hook {unknown[0]}{near}; hooks are {names}")
    if not there or isinstance(callback, type):
        raise RequestError(f"callbacks holds {callback!r}; give an object with one of {', '.join(names)}")
