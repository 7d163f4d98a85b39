"""States of nodes and devices as glyph and word; colour only for what needs somebody."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

from stillroom.scheduling.models import Device, Node

_GLYPHS = {"alive": "◉", "quiet": "○", "warn": "▲", "bad": "✕"}


def chip(look: str, word: str) -> SafeString:
    """A state: `look` is alive, quiet, warn or bad."""
    return format_html(
        '<span class="console-state console-{}"><span aria-hidden="true">{}</span> {}</span>', look, _GLYPHS[look], word
    )


def node_state(node: Node) -> SafeString:
    """Down when silent; otherwise what the administrator wants."""
    if not node.is_alive:
        return chip("quiet", "never attached") if node.heartbeat_at is None else chip("bad", "down")
    if node.status == Node.Status.READY:
        return chip("alive", "ready")
    return chip("warn", node.status)


def device_state(device: Device, *, held: bool = False) -> SafeString:
    """In use, free, or why it is neither."""
    match device.status:
        case Device.Status.QUARANTINED:
            return chip("warn", "quarantined")
        case Device.Status.BROKEN:
            return chip("bad", "broken")
        case Device.Status.GONE:
            return chip("quiet", "gone")
    return chip("alive", "in use") if held else chip("quiet", "free")
