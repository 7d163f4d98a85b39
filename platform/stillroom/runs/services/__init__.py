"""Changes to projects, studies and runs."""
