"""Everything around one run's process: start it, listen to it, keep what it said, stop it, and leave nothing behind."""
