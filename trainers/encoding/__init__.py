"""How raw rows become the columns that a model reads, in training and ever after."""
