"""An outage of the tracking server."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.drill.counted_model import slow_down
from tests.drill.server import Server
from tests.drill.trial import Trial

OUTAGE = 60.0
"""Length of the outage, in seconds."""


def stop_tracking(trial: Trial, keys: Sequence[str]) -> float:
    """Kill the tracking server in stage 2 and restart it a minute later; training continues meanwhile."""
    server = Server(trial)
    server.start()
    try:
        trial.declare(server.uri)
        trial.start()
        trial.reach(keys[1])
        at = time.time()
        server.stop()
        before = len(trial.worker(0).times)
        slow_down(trial.site.passes, 0.2)  # so that the run outlasts the outage
        trial.wait_for("the end of the outage", lambda: time.time() - at > OUTAGE)
        server.start()
        slow_down(trial.site.passes, trial.site.size.pace)
        passes = len(trial.worker(0).times) - before
        trial.notes.append(f"{passes} training passes in {time.time() - at:.0f} s without a tracking server")
        trial.finish()
    finally:
        server.stop()
    return at
