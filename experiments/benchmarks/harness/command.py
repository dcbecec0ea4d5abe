"""Commands that a benchmark runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence


def run_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run ``python -m MODULE`` and return its standard output.

    Raises:
        SystemExit: The command failed; the message is its standard error.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"python -m {module} {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def set_options(settings: Mapping[str, object]) -> Sequence[str]:
    """Return the options ``--set KEY=VALUE`` of the command ``nmt``."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
