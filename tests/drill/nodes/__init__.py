"""Ray nodes on this machine, to be lost: on one address, each in a network namespace, or started by an autoscaler."""
