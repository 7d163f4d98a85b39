"""The MLflow REST door: MLflow's clients log here unchanged. Translation only; runs, points and files are ours."""
