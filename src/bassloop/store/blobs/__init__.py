"""Blobs: bytes that never change once they are stored, in a folder or in a bucket.

    blobs = find_blobs(settings)            # connects to the bucket, if BLOBS_URL is set
    blobs = FileBlobs(folder)

A blob has a name like a relative path. `Blobs` is what both have in common. Each has a folder on this
machine's disk, too: logs are appended to there, whatever becomes of them once they are complete.

Everything here blocks, and is for threads. Errors are OSErrors, so that a bucket fails as a disk does.
"""

from __future__ import annotations

from bassloop.store.blobs.blobs import (
    BlobInfo,
    BlobReader,
    Blobs,
    Bucket,
    BucketError,
    NothingToClose,
)
from bassloop.store.blobs.file_blobs import FileBlobs, FileReader
from bassloop.store.blobs.finding import find_blobs

__all__ = [
    "BlobInfo",
    "BlobReader",
    "Blobs",
    "Bucket",
    "BucketError",
    "FileBlobs",
    "FileReader",
    "NothingToClose",
    "find_blobs",
]
