"""The layout of a project archive, and what is believed of one that somebody sends: nothing that is not checked here.

A zip of `runs.jsonl`, `studies.jsonl`, `metrics/<run>.parquet`, `logs/<run>.jsonl`, `artifacts/<sha256>`, and at its
end `manifest.json`, which holds size and SHA-256 of every other member. Docs: docs/howto/export-and-import.md.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import zipfile
import zlib
from datetime import datetime
from typing import IO, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stillroom.core.errors import Invalid, TooLarge
from stillroom.core.plain import check_plain
from stillroom.runs.schemas.fields import Label, Notes, Tags

FORMAT, VERSION = "stillroom-project", 1
MANIFEST, RUNS, STUDIES = "manifest.json", "runs.jsonl", "studies.jsonl"
MAX_MEMBERS = 200_000
MAX_RATIO = 800
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
CHUNK = 1024 * 1024
NAME = re.compile(
    r"\A(?:runs\.jsonl|studies\.jsonl|metrics/r_[0-9A-Z]{1,14}\.parquet|logs/r_[0-9A-Z]{1,14}\.jsonl|artifacts/[0-9a-f]{64})\Z"
)
_ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error, lzma.LZMAError)

RunId = Annotated[str, StringConstraints(pattern=r"^r_[0-9A-Z]{1,14}$")]
StudyId = Annotated[str, StringConstraints(pattern=r"^s_[0-9A-Z]{1,14}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
Word = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f]*$")]
Text = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Path = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Step = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    try:
        check_plain(value)
    except Invalid as error:
        raise ValueError(error.message) from None
    return value


def _of_our_era(value: datetime) -> datetime:
    """Years in which every time zone can say the moment."""
    if not 1900 <= value.year <= 9000:
        raise ValueError("Not a time between 1900 and 9000.")
    return value


Plain = Annotated[dict[str, Any], AfterValidator(_plain)]
Time = Annotated[AwareDatetime, AfterValidator(_of_our_era)]

Record = TypeVar("Record", bound=BaseModel)


class Part(BaseModel):
    """What the archive says of its contents: an unknown field is refused."""

    model_config = ConfigDict(extra="forbid")


class Member(Part):
    size_bytes: Count
    sha256: Sha256


class Manifest(Part):
    format: Literal["stillroom-project"]
    version: Literal[1]
    org: Word
    project: Word
    project_name: Label
    exported_at: Time
    exported_by: Label
    files: dict[str, Member]


class File(Part):
    path: Path
    sha256: Sha256
    size_bytes: Count


class CheckpointFile(File):
    name: Path


class Checkpoint(Part):
    step: Step
    status: Literal["complete", "corrupt"]
    files: list[CheckpointFile]


class Resources(Part):
    kind: Word
    devices: Annotated[int, Field(ge=0, le=4096)]
    time_limit_s: Annotated[int, Field(ge=0, le=2**31 - 1)]


class Progress(Part):
    step: Count
    total: Count
    note: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""


class Arm(Part):
    name: Label
    spec_hash: Hash


class RunRecord(Part):
    """A run without its points and lines."""

    id: RunId
    study: StudyId | None
    parent: RunId | None
    arm: Label
    name: Label
    notes: Notes
    tags: Tags
    external: bool
    recipe: Word
    recipe_version: Annotated[Word, StringConstraints(max_length=32)]
    spec: Plain
    spec_hash: Hash
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    state: Word
    reason_code: Word
    reason: Text
    exit_code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    resources: Resources
    node: Label
    progress: Progress | None
    created_by: Label
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    origin: Plain | None
    points: Count
    lines: Count
    artifacts: list[File]
    checkpoints: list[Checkpoint]


class StudyRecord(Part):
    id: StudyId
    name: Label
    recipe: Word
    arms: list[Arm]
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]]
    created_at: Time


def refuse(at: str, why: str) -> Invalid:
    """The archive is not one that may come in."""
    return Invalid(f"The archive is not valid at {at}: {why}", fields={at: why}, code="import.invalid")


def read_manifest(archive: zipfile.ZipFile, *, max_bytes: int) -> Manifest:
    """The manifest of an archive whose members are all named, known, once, not encrypted and within bounds.

    Nothing has been unpacked yet but the manifest. Raises Invalid or TooLarge.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise refuse("", f"It has more than {MAX_MEMBERS} members.")
    names: set[str] = set()
    total = 0
    for member in members:
        name = member.filename
        if name != MANIFEST and not NAME.match(name):
            raise refuse(name[:200], "There is no such member in this layout.")
        if name in names:
            raise refuse(name, "It is there twice.")
        if member.flag_bits & _ENCRYPTED:
            raise refuse(name, "It is encrypted.")
        if member.file_size > CHUNK and member.file_size > MAX_RATIO * max(1, member.compress_size):
            raise refuse(name, "It unpacks to more than 800 times its size.")
        names.add(name)
        total += member.file_size
    if total > max_bytes:
        message = f"An archive may unpack to at most {max_bytes} bytes; this one has {total}."
        raise TooLarge(message, code="import.too_large", fields={"": message}, limit=max_bytes)
    if MANIFEST not in names:
        raise refuse(MANIFEST, "It is missing.")
    if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
        raise refuse(MANIFEST, "It is too large.")
    manifest = parsed(Manifest, read_member(archive, MANIFEST), MANIFEST)
    if set(manifest.files) != names - {MANIFEST}:
        odd = min(set(manifest.files) ^ (names - {MANIFEST}))
        raise refuse(odd[:200], "Manifest and members do not agree on it.")
    return manifest


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A small member whole; raises Invalid when it does not unpack."""
    try:
        return archive.read(name)
    except BROKEN as error:
        raise refuse(name, f"It does not unpack: {error}.") from None


def unpack(archive: zipfile.ZipFile, name: str, expected: Member, out: IO[bytes]) -> None:
    """Copy a member into a file, and check size and hash on the way; raises Invalid."""
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(name) as member:
            while block := member.read(CHUNK):
                size += len(block)
                if size > expected.size_bytes:
                    raise refuse(name, "It is longer than the manifest says.")
                digest.update(block)
                out.write(block)
    except BROKEN as error:
        raise refuse(name, f"It does not unpack: {error}.") from None
    if size != expected.size_bytes or digest.hexdigest() != expected.sha256:
        raise refuse(name, f"It has {size} bytes with sha256 {digest.hexdigest()}, not what the manifest says.")
    out.seek(0)


def parsed(model: type[Record], text: bytes, at: str) -> Record:
    """One record; raises Invalid with the place."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([at, *(str(part) for part in first["loc"])])
        raise refuse(place[:300], str(first["msg"])) from None


def records(model: type[Record], file: IO[bytes], at: str) -> list[Record]:
    """The lines of a member; raises Invalid with the number of the line."""
    found: list[Record] = []
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise refuse(f"{at}:{number}", "The line is too long.")
        found.append(parsed(model, line, f"{at}:{number}"))
    return found
