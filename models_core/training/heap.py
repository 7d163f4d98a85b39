"""Keep the memory that a process frees, instead of returning it to the system after every step.

A training step asks for the same few hundred megabytes every time. glibc takes large blocks from the system and gives
them back at once, so that each step waits for all its pages to be found and cleared again: a sixth of the time of a
small decoder's step on a processor. Refuses nothing: with another C library it does nothing.
"""

from __future__ import annotations

import ctypes
import platform

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Serve every later allocation from one heap that never shrinks; memory is then the most the process ever held.

    Best before threads allocate: one that has a heap of its own keeps to it, and such heaps cannot hold large blocks.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_ARENA_MAX, 1)
