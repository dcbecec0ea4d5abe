"""Data sources: each module's ``prepare`` turns one data set into a prepared folder.

A source is a callable ``prepare(path, cache, **options) -> Path``. ``path`` is the user's ``data.path`` (or ``None``),
``cache`` a folder that the source may fill and reuse, ``options`` the keys of ``data.options``. It returns the folder
of the prepared data set (:mod:`nmt.trainers.data.prepared`).

A source of official files also has ``recipe(path, **options) -> Recipe``, a declaration of what to make of the files.
Its ``prepare`` carries the recipe out in this process, ``nmt data prepare`` in many
(:mod:`nmt.experiments.data.official`). A module that takes other input as well has ``is_official(path) -> bool``.
"""
