"""Projects, studies and runs: what was asked for, and the life of each run."""
