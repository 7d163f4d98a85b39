"""Leaderboards: benchmarks that freeze a task, and the rankings that runs enter by themselves."""
