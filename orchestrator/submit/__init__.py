"""The verbs as Ray jobs on a cluster: packaging, checks, submission, and following a job."""
