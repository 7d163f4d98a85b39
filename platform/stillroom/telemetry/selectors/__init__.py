"""The only readers of metric chunks and log chunks."""
