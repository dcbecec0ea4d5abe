"""Data sources. Each module's ``prepare`` turns a public data set into a prepared folder.

A source is a callable ``prepare(path, cache, **options) -> Path``: ``path`` is the user's ``data.path`` (or ``None``),
``cache`` a folder that the source may fill and reuse, ``options`` the remaining keys of ``data.options``; it returns
the folder of the prepared data set (:mod:`trainers.data.prepared`).

A source of official files is a declaration instead, ``recipe(path, **options) -> Recipe``, and its ``prepare`` carries
it out in one process (:mod:`experiments.data.official`). ``nmt data prepare`` carries it out in many. A module
that also takes another input has ``is_official(path) -> bool``.
"""
