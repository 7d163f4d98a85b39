"""Where the content of artifacts lies: a folder, or an S3-compatible bucket. Names are `<tenant>/<aa>/<sha256>`.

Content arrives whole, as a finished local file; a reader sees all of it or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

from django.conf import settings

from stillroom.core.errors import NotFound, StillroomError

CHUNK = 1024 * 1024
LINK_VALID_S = 300


class StorageFull(StillroomError):
    """The disk behind the store is full."""

    code = "artifact.storage_full"
    status = 507


class StoreAway(StillroomError):
    """The bucket does not answer; the same call may succeed later."""

    code = "artifact.store_unavailable"
    status = 503


class Store(Protocol):
    """What both kinds do. `put` takes the file away; repeating `put` or `remove` changes nothing."""

    def put(self, tenant: str, sha256: str, file: Path) -> None: ...
    def has(self, tenant: str, sha256: str) -> bool: ...
    def read(self, tenant: str, sha256: str, start: int, stop: int) -> Iterator[bytes]: ...
    def remove(self, tenant: str, sha256: str) -> None: ...
    def address(self, tenant: str, sha256: str, *, name: str, media_type: str) -> str | None: ...


class FolderStore:
    """Files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, tenant: str, sha256: str) -> Path:
        """Where the content of that hash lies."""
        return self.root / tenant / sha256[:2] / sha256

    def put(self, tenant: str, sha256: str, file: Path) -> None:
        target = self.path(tenant, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def has(self, tenant: str, sha256: str) -> bool:
        return self.path(tenant, sha256).is_file()

    def read(self, tenant: str, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            handle = self.path(tenant, sha256).open("rb")
        except FileNotFoundError:
            raise NotFound("The content of this artifact") from None
        return _pieces(handle, start, stop)

    def remove(self, tenant: str, sha256: str) -> None:
        self.path(tenant, sha256).unlink(missing_ok=True)

    def address(self, tenant: str, sha256: str, *, name: str, media_type: str) -> str | None:
        return None


def _pieces(handle: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with handle:
        handle.seek(start)
        while start < stop and (piece := handle.read(min(CHUNK, stop - start))):
            start += len(piece)
            yield piece


class BucketStore:
    """Objects of one bucket. Credentials come from where boto3 looks for them; boto3 is loaded when first needed."""

    def __init__(self, bucket: str, *, endpoint: str = "", prefix: str = "", redirect: bool = False) -> None:
        import boto3  # type: ignore[import-untyped,unused-ignore]
        from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]

        self.bucket, self.prefix, self.redirect = bucket, prefix, redirect
        patience = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3}, signature_version="s3v4")
        self._client: Any = boto3.client("s3", endpoint_url=endpoint or None, config=patience)

    def key(self, tenant: str, sha256: str) -> str:
        """The object of that hash."""
        return f"{self.prefix}{tenant}/{sha256[:2]}/{sha256}"

    def put(self, tenant: str, sha256: str, file: Path) -> None:
        self._call("upload_file", str(file), self.bucket, self.key(tenant, sha256))
        file.unlink(missing_ok=True)

    def has(self, tenant: str, sha256: str) -> bool:
        try:
            self._call("head_object", Bucket=self.bucket, Key=self.key(tenant, sha256))
        except NotFound:
            return False
        return True

    def read(self, tenant: str, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        if start >= stop:
            return iter(())
        found = self._call(
            "get_object", Bucket=self.bucket, Key=self.key(tenant, sha256), Range=f"bytes={start}-{stop - 1}"
        )
        pieces: Iterator[bytes] = found["Body"].iter_chunks(CHUNK)
        return pieces

    def remove(self, tenant: str, sha256: str) -> None:
        self._call("delete_object", Bucket=self.bucket, Key=self.key(tenant, sha256))

    def address(self, tenant: str, sha256: str, *, name: str, media_type: str) -> str | None:
        """A link that lets its holder download this one object for five minutes, as an attachment."""
        if not self.redirect:
            return None
        link: str = self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": self.key(tenant, sha256),
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(name)}",
                "ResponseContentType": media_type,
            },
            ExpiresIn=LINK_VALID_S,
        )
        return link

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        from boto3.exceptions import S3UploadFailedError  # type: ignore[import-untyped,unused-ignore]
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped,unused-ignore]

        try:
            return getattr(self._client, name)(*arguments, **options)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
                raise NotFound("The content of this artifact") from None
            raise StoreAway(f"The artifact store refused: {error}.") from error
        except (BotoCoreError, S3UploadFailedError) as error:
            raise StoreAway(f"The artifact store cannot be reached: {error}.") from error


@cache
def _store(root: Path, bucket: str, endpoint: str, prefix: str, redirect: bool) -> Store:
    if bucket:
        return BucketStore(bucket, endpoint=endpoint, prefix=prefix, redirect=redirect)
    return FolderStore(root)


def store() -> Store:
    """The store that the settings name."""
    env = settings.ENV
    return _store(env.artifacts, env.s3_bucket, env.s3_endpoint, env.s3_prefix, env.s3_redirect)


def incoming(tenant: str) -> Path:
    """The folder of what is on its way, on this machine whichever the store."""
    folder: Path = settings.ENV.artifacts / tenant / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetched(tenant: str, sha256: str, size_bytes: int) -> BinaryIO:
    """The content as a seekable file that is gone when closed."""
    found = store()
    if isinstance(found, FolderStore):
        try:
            return found.path(tenant, sha256).open("rb")
        except FileNotFoundError:
            raise NotFound("The content of this artifact") from None
    file = TemporaryFile()  # noqa: SIM115  (the caller closes it)
    for piece in found.read(tenant, sha256, 0, size_bytes):
        file.write(piece)
    file.seek(0)
    return file
