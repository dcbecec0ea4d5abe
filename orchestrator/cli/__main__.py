"""``python -m orchestrator.cli`` is ``nmt``."""

from orchestrator.cli.app import main

main()
