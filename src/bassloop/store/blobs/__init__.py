"""Blobs: immutable objects, stored in a folder or in a bucket.

    blobs = find_blobs(settings)            # connects to the bucket, if BLOBS_URL is set
    blobs = FileBlobs(folder)

A blob has a name like a relative path. `Blobs` is the common interface. Even with a bucket there is a folder on
this machine's disk, to which logs are written until they are complete.

All functions block: call them in threads. Errors are OSErrors, so that a failing bucket is handled like a failing
disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store.blobs.blobs import (
    BlobInfo,
    BlobReader,
    Blobs,
    Bucket,
    BucketAddress,
    BucketCredentials,
    BucketError,
    BucketUnreachable,
    FileBlobs,
    FileReader,
    NothingToClose,
    shared_credentials,
)
from bassloop.store.errors import StoreUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings

__all__ = [
    "BlobInfo",
    "BlobReader",
    "Blobs",
    "Bucket",
    "BucketError",
    "BucketUnreachable",
    "FileBlobs",
    "FileReader",
    "NothingToClose",
    "find_blobs",
    "note_bucket",
]

_NOTE = "moved"
"""The name of the file, in the folder of the blobs, that names the bucket to which they were moved."""


def find_blobs(settings: Settings, *, probe: bool = True, patient: bool = False) -> Blobs:
    """Return the blobs that the settings name. Blocks.

    Raises StoreUnusable, with the reason and the fix, if they can't be used.

    Args:
        probe: test that the bucket works. Otherwise, the first operation that needs it may raise BucketError.
        patient: accept a bucket that can't be reached now, but not one that refuses a request.
    """
    if settings.blobs_url is None:
        _check_note(settings.blobs)
        return FileBlobs(settings.blobs)
    try:
        from bassloop.store.blobs.object_blobs import connect_bucket
    except ImportError as error:
        raise StoreUnusable(
            "BLOBS_URL is set, but obstore is not installed: pipx install '.[bucket]'"
        ) from error
    try:
        address = BucketAddress.parse(settings.blobs_url)
    except ValueError as error:
        raise StoreUnusable(f"BLOBS_URL: {error}") from error
    blobs = connect_bucket(address, _credentials(settings), settings.blobs, settings.blobs_cache)
    if probe:
        try:
            blobs.probe()
        except BucketUnreachable as error:
            if not patient:
                raise StoreUnusable(str(error)) from error
        except OSError as error:
            raise StoreUnusable(str(error)) from error
    return blobs


def note_bucket(folder: Path, bucket: Bucket) -> None:
    """Record that the blobs of a folder are being moved to a bucket. Raises OSError.

    Without the note, a daemon whose settings lack BLOBS_URL, and `check`, would consider all of them lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _NOTE).write_text(f"{bucket}\n")


def _check_note(folder: Path) -> None:
    try:
        bucket = (folder / _NOTE).read_text().strip()
    except OSError:
        return
    raise StoreUnusable(
        f"the logs and artifacts of {folder} were moved to {bucket}: set BLOBS_URL to it. If they are in the folder "
        f"again, remove {folder / _NOTE}"
    )


def _credentials(settings: Settings) -> BucketCredentials | None:
    key_id, secret = settings.secret("aws_access_key_id"), settings.secret("aws_secret_access_key")
    if key_id and secret:
        return BucketCredentials(key_id, secret, settings.secret("aws_session_token"))
    return shared_credentials()
