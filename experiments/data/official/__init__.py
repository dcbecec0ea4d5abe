"""Official files prepared one block of lines at a time, in this process or in parallel.

1. *join*: tables of features are stored on disk so that rows can look them up;
2. *read*: lines become columns; damaged lines are counted, and the first ones reported;
3. *count*: tokens, numbers and labels of the training rows are counted, and the counts *merged* to vocabularies;
4. *encode*: tokens become ids, and each block writes a shard of each split.

Each step is one pure function mapped over blocks by a :class:`~nmt.experiments.data.official.block_map.Map`. The result
is the same for every map, byte for byte.

Between steps the rows wait on disk, beside the result, as codes of their block's own tokens. Memory holds one block per
process, the tokens of the vocabularies, and what :class:`~nmt.experiments.data.official.held_out.HeldOut` needs. Within
a split, rows keep the order of the files.

The prepared folder also gets ``vocabulary.parquet`` (column, token, id, count in the training rows; sorted by column
and id; without PAD and OOV) and ``preparation.json`` (:class:`~nmt.experiments.data.official.report.Report`).
"""
