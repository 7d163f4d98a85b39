"""What recipes share: train step, learning-rate schedules, evaluation, snapshots of state, pacing of events."""
