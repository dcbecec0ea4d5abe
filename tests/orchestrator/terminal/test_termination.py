"""SIGTERM is Ctrl-C with another exit status."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAIT = """
import sys, time
import typer
from nmt.orchestrator.cli import app as cli
from nmt.orchestrator.terminal.command_line import interruptible

@cli.app.command()
def wait(bare: bool = False):
    def sleep():
        print("ready", flush=True)
        time.sleep(60)
    if bare:
        sleep()
    with interruptible():
        sleep()

cli.main()
"""


@pytest.mark.parametrize(
    ("how", "options", "status", "said"),
    [
        (signal.SIGTERM, [], 143, "terminated; finished stages are kept"),
        (signal.SIGTERM, ["--bare"], 143, ""),
        (signal.SIGINT, [], 130, "interrupted; finished stages are kept"),
    ],
)
def test_exit_status(how: signal.Signals, options: list[str], status: int, said: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, "wait", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(how)
    rest = process.communicate(timeout=20)[1]
    assert process.returncode == status, rest
    assert said in rest
    assert "Traceback" not in rest


def test_what_ray_installs_is_replaced_and_its_training_is_asked_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from nmt.orchestrator.terminal import termination

    monkeypatch.setattr(termination, "_received", type(termination._received)())
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    asked: list[int] = []
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        termination.heed_sigterm()
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))  # as Ray Train does
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGINT]
        assert termination.was_terminated()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
