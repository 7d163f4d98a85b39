"""Readers of other trackers' runs, and the pusher that brings them here. One file a source; nothing heavy is loaded."""

from __future__ import annotations
