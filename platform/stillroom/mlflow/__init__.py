"""The MLflow REST door: MLflow's tracking clients log here unchanged. Translation only; runs, points and files are ours."""
