"""Entrypoint of a job on the cluster: check the image's packages and the tracking store, then run the verb.

``python -m nmt.orchestrator.cli.job_entrypoint VERB FILE [OPTIONS]``, in the folder of an unpacked package.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nmt.orchestrator.terminal import standard_error
from nmt.orchestrator.terminal.termination import heed_sigterm, was_terminated

WRONG_REQUEST, INTERRUPTED, TERMINATED = 2, 130, 143


def main(arguments: Sequence[str]) -> int:
    """Run a verb on the cluster.

    Args:
        arguments: The verb, the experiment file and the verb's options.

    Returns:
        Exit status, unless the verb ends the process itself; 2 when the image or the tracking store does not serve.
    """
    heed_sigterm()  # ``nmt submit stop`` ends runs as Ctrl-C does
    sys.path.insert(0, str(Path.cwd()))
    verb, file, *options = arguments
    if os.environ.get(standard_error.VARIABLE) == "json":
        standard_error.capture().about(verb=verb)
    if not check_image(_say):
        return WRONG_REQUEST
    try:
        if verb == "doctor":
            from nmt.orchestrator.submit.cluster_doctor import examine_inside

            return examine_inside(file if options == ["--with-experiment"] else None)
        if not _check_tracking(file):
            return WRONG_REQUEST
    except KeyboardInterrupt:
        return TERMINATED if was_terminated() else INTERRUPTED
    from nmt.orchestrator.cli import app as cli

    sys.argv = ["nmt", verb, file, *options]
    cli.main()
    return 0


def check_image(say: Callable[[str], None]) -> bool:
    """Return whether the project runs with this machine's packages, and report each one that differs.

    Args:
        say: Called with each line of the report.
    """
    try:
        from nmt.orchestrator.submit.requirements import REQUIREMENTS, Requirements, compare
    except ImportError as error:
        say(f"error: the cluster's image cannot run the project: {error}; {_INSTALL}")
        return False
    differing = compare(Requirements.from_dict(json.loads(Path(REQUIREMENTS).read_text())))
    fatal = [mismatch for mismatch in differing if mismatch.is_fatal]
    for mismatch in differing:
        say(f"{'error' if mismatch.is_fatal else 'note'}: on the cluster {mismatch}")
    if fatal:
        say(f"error: the cluster's image cannot run the project; {_INSTALL}")
    return not fatal


_INSTALL = (
    "submit with --install, which has Ray install the pinned packages on every node, or use an image that has them"
)


def _check_tracking(file: str) -> bool:
    """Return whether the tracking store answers from here: a wrong address should fail before hours of training."""
    from nmt.orchestrator.credentials import without_credentials
    from nmt.orchestrator.errors import first_line
    from nmt.orchestrator.experiment.file import load
    from nmt.orchestrator.submit.link import LINK
    from nmt.orchestrator.tracking.address import page
    from nmt.orchestrator.tracking.store import TrackingStore

    experiment = load(file)
    try:
        store = TrackingStore(experiment.tracking, experiment.name)
    except Exception as error:
        reason = without_credentials(first_line(error))
        _say(
            f"error: tracking: the cluster cannot reach {without_credentials(experiment.tracking)} ({reason}); "
            "give an address that its nodes can reach, such as an MLflow server in the same network, and set its user "
            "and password in the cluster's own environment"
        )
        return False
    if experiment.tracking.startswith("http"):
        _say(f"{LINK}{page(experiment.tracking, store.experiment_id)}")
    return True


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
