"""The simulator under every federated algorithm: latencies, cohorts, the clock, and the compiled engine."""
