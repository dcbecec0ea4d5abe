"""Records in MLflow: one writer, on the driver's side."""
