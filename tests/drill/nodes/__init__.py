"""Ray nodes on this machine: on one address, in network namespaces of their own, or started by an autoscaler."""
