"""The verbs as Ray jobs on a cluster: what is sent, how it is followed, what is checked before it trains."""
