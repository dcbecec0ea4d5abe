"""Ray nodes on this machine, to be lost: on the loopback address, or each in a network namespace of its own."""
