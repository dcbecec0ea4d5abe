"""Trained models outside of training: export, predictions on files, evaluation, MLflow's registry."""
