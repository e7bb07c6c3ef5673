"""The record of runs in MLflow, which is imported nowhere else."""
