"""The `stillroom` command in parts: each module adds its commands to the parser."""

from __future__ import annotations
