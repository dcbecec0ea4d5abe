"""What runs where and what it cost: experiment files, plans, Ray Train runs, MLflow records, the command line."""
