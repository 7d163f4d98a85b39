"""The King James Bible: 66 books, 31,102 verses, 4.4 MB of English, from a local file. A book is a group.

The text is what Debian's packages print: `bible -f gen1:1-rev22:21 > kjv.txt` (bible-kjv and bible-kjv-text; unpacked
by `dpkg -x` without root, run it in usr/lib of the folder).
"""

from __future__ import annotations

import re
from pathlib import Path

from models_core.data._dataset import DataInvalid, Document, Source, local_folder, read_local

SOURCE = Source(
    title="The Holy Bible, King James Version, 1611, as typed for the Bible Retrieval System by C. Chapin, 1989",
    origin="Debian's packages bible-kjv and bible-kjv-text 4.38: output of `bible -f gen1:1-rev22:21`",
    licence="public domain (the program: GPL-2.0-or-later)",
    sha256="cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d",
)
_LIMIT = 16 << 20
_VERSE = re.compile(r"(\d?[A-Za-z]+)(\d+):(\d+) (.+)")


def documents(folder: str | Path | None = None, *, verify: bool = True) -> list[Document]:
    """One document a chapter, "Ge 1", verses on lines of their own without their numbers; raises DataInvalid."""
    content = read_local(
        local_folder("king_james", folder), "kjv.txt", limit=_LIMIT, sha256=SOURCE.sha256 if verify else None
    )
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataInvalid(f"kjv.txt is not UTF-8: {error}") from None
    chapters: dict[tuple[str, str], list[str]] = {}
    for number, line in enumerate(lines, 1):
        verse = _VERSE.fullmatch(line)
        if not verse:
            raise DataInvalid(f"Line {number} of kjv.txt is not a verse like 'Ge1:1 In the beginning ..'.")
        chapters.setdefault((verse[1], verse[2]), []).append(verse[4])
    if not chapters:
        raise DataInvalid("kjv.txt has no verses.")
    return [
        Document(f"{book} {chapter}", book, "\n".join(verses) + "\n") for (book, chapter), verses in chapters.items()
    ]
