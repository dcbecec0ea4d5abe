"""``python -m nmt.orchestrator.cli`` is ``nmt``."""

from nmt.orchestrator.cli.app import main

main()
