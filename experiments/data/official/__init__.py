"""From official files to a prepared folder, a block of lines at a time.

1. *join*: tables of features, put down so that they can be looked up;
2. *read*: lines to columns; damaged lines are counted, and the first are told;
3. *count*: tokens, numbers and labels of the training rows; then the vocabularies are *merged*;
4. *encode*: ids and numbers, a shard of each split for each block.

Each step is one pure function mapped over blocks, by whatever is given as :class:`Map`: by default one after the
other in this process. The result does not depend on it, to the last byte.

Between the steps the rows wait on disk beside the result, as numbers into each block's own tokens. In memory are a
block for each process, the tokens that vocabularies keep, and what
:class:`~experiments.data.official.held_out.HeldOut` asks for. Rows keep the order of the files within a split.

Beside the shards stand ``vocabulary.parquet`` (column, token, id, count in the training rows; rows in the order of
columns and ids; PAD and OOV are no tokens) and ``preparation.json`` (:class:`Report`).
"""
