"""A trained model outside of training: a folder with its encoder, and predictions for raw rows."""
