"""The only writers of metric chunks, log chunks and artifacts."""
