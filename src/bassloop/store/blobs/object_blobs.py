"""Blobs in a bucket of an S3-compatible service. Needs the extra `bassloop[bucket]`.

obstore's synchronous calls release the GIL while they wait, so they can run in threads.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import cachetools
import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from bassloop.store.blobs.blobs import (
    BlobInfo,
    BucketError,
    BucketUnreachable,
    FileBlobs,
    NothingToClose,
)
from bassloop.store.errors import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from obstore.store import S3Config

    from bassloop.store.blobs.blobs import BucketAddress, BucketCredentials


BLOCK = 1024 * 1024
"""The unit in which blobs are fetched and cached, in bytes. Each block is a file in the cache."""

PIECE = 256 * 1024
"""The minimum size of the pieces of an object that is read sequentially, in bytes."""

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
RETRIES = 2
RETRY_SECONDS = 10.0
"""How often, and for how long, obstore retries a request before it fails. The shipper retries at a higher level."""

CACHE = "cache"
"""The name of the cache's folder, in the folder of the blobs."""

_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_HTTP = re.compile(r"HTTP error: ([^\n]{1,200})")
_SERVER_ERROR = re.compile(r"status code: 5\d\d")

_FIXES = {
    "NoSuchBucket": "there is no such bucket: make it, or name another one in BLOBS_URL",
    "InvalidBucketName": "this can't be the name of a bucket: name another one in BLOBS_URL",
    "AccessDenied": "permission denied: these credentials must be allowed to list the bucket, and to get, put and "
    "delete objects",
    "InvalidAccessKeyId": "the service doesn't know AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY isn't the one of AWS_ACCESS_KEY_ID",
    "ExpiredToken": "AWS_SESSION_TOKEN has expired",
    "RequestTimeTooSkewed": "this machine's clock is too far from the service's: set it right",
    "PermanentRedirect": "the bucket is in another region: name it in BLOBS_URL, as ?region=",
    "AuthorizationHeaderMalformed": "the bucket is in another region: name it in BLOBS_URL, as ?region=",
    "NotImplemented": "the service can't do this; it must know conditional puts (If-None-Match)",
}


class _Files(cachetools.LRUCache[str, int]):
    """The sizes of the cached files, by name. Evicting an entry removes its file."""

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__(limit, getsizeof=lambda size: max(1, size))
        self._folder = folder

    def popitem(self) -> tuple[str, int]:
        name, size = super().popitem()
        (self._folder / name).unlink(missing_ok=True)
        return name, size


class BlockCache:
    """A cache of blocks, as files in a folder. It survives a restart.

    Blocks never change, since blobs don't. If the disk is full, or a file has been removed or emptied, the block is
    fetched again. With a limit of 0, nothing is cached.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files = _Files(folder, limit)
        self._limit = limit
        for each in sorted(
            FileBlobs(folder).list("") if limit else (), key=lambda info: info.stored_at
        ):
            self._add(each.name, each.size)

    @property
    def size(self) -> int:
        """The size of the cache in bytes."""
        return int(self._files.currsize)

    def read(self, blob: str, offset: int, size: int, fetch: Callable[[int], bytes]) -> bytes:
        """Return up to `size` bytes of a blob, fewer at its end.

        Args:
            fetch: fetches the block with a number. The last block may be shorter than BLOCK; after it, blocks
                are empty.
        """
        found = bytearray()
        while size > 0:
            number, within = divmod(offset, BLOCK)
            wanted = min(size, BLOCK - within)
            part = self._block(blob, number, within, wanted, fetch)
            found += part
            offset += len(part)
            size -= len(part)
            if len(part) < wanted:
                break
        return bytes(found)

    def _block(
        self, blob: str, number: int, within: int, size: int, fetch: Callable[[int], bytes]
    ) -> bytes:
        name = f"{blob}@{number}"
        with self._lock:
            cached = self._files.get(name) is not None
        if cached:
            with contextlib.suppress(FileNotFoundError), (self._folder / name).open("rb") as file:
                return os.pread(file.fileno(), size, within)
        block = fetch(number)
        if block and self._limit:
            with contextlib.suppress(OSError):
                self._write(name, block)
        return block[within : within + size]

    def _write(self, name: str, block: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(block)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
        self._add(name, len(block))

    def _add(self, name: str, size: int) -> None:
        with self._lock:
            if 0 < size <= self._limit:  # a power failure may leave empty files
                self._files[name] = size
            else:
                (self._folder / name).unlink(missing_ok=True)

    def forget(self, prefix: str) -> None:
        """Remove the blocks of a blob, or of all blobs below a prefix."""
        with self._lock:
            for name in [
                each for each in self._files if each.startswith((f"{prefix}/", f"{prefix}@"))
            ]:
                del self._files[name]
                (self._folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / prefix, ignore_errors=True)


class ObjectReader(NothingToClose):
    """An object, open for reading, using the cache."""

    def __init__(self, blobs: ObjectBlobs, name: str) -> None:
        self._blobs = blobs
        self._name = name

    @property
    def size(self) -> int:
        return self._blobs.size_of(self._name)

    def read(self, offset: int, size: int) -> bytes:
        return self._blobs.read(self._name, offset, size)


class ObjectStream(NothingToClose):
    """An object that is read sequentially by one request, bypassing the cache.

    With a request for each block, a large object would take hundreds. obstore ends each request after
    REQUEST_SECONDS, even while data arrives: then another request continues.
    """

    def __init__(self, blobs: ObjectBlobs, name: str) -> None:
        self.size = blobs.size_of(name)
        self._blobs = blobs
        self._name = name
        self._position = 0
        self._rest = memoryview(b"")
        self._pieces: Iterator[bytes] = iter(())

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; none at the end. Raises OSError."""
        if offset != self._position:
            self._position, self._rest, self._pieces = offset, memoryview(b""), iter(())
        if not self._rest and offset < self.size:
            self._rest = memoryview(self._next_piece())
        found = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        self._position += len(found)
        return found

    def _next_piece(self) -> bytes:
        with contextlib.suppress(BucketError):
            if piece := next(self._pieces, b""):
                return piece
        self._pieces = self._blobs.stream(self._name, self._position)
        return next(self._pieces, b"")


class ObjectBlobs:
    """The objects of a bucket below a prefix, with a cache in `folder`. Made by `connect_bucket`."""

    def __init__(
        self, store: S3Store, folder: Path, address: BucketAddress, cache: BlockCache
    ) -> None:
        self.folder = folder
        self._cache = cache
        self._store = store
        self._address = address

    @property
    def bucket(self) -> ObjectBlobs:
        return self

    @property
    def cached_bytes(self) -> int:
        return self._cache.size

    def __str__(self) -> str:
        return str(self._address)

    def open(self, name: str) -> ObjectReader:
        reader = ObjectReader(self, name)
        reader.read(0, 1)
        return reader

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object, using the cache."""
        return self._cache.read(name, offset, size, lambda number: self._fetch_block(name, number))

    def fetch(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object, bypassing the cache; none after its end."""
        with self._errors():
            try:
                found = obstore.get(self._store, name, options={"range": (offset, offset + size)})
                return bytes(found.bytes())
            except BaseError as error:
                if _code(error) == "InvalidRange":
                    return b""
                raise

    def open_sequential(self, name: str) -> ObjectStream:
        return ObjectStream(self, name)

    def stream(self, name: str, start: int) -> Iterator[bytes]:
        """Yield the bytes of an object from `start` on, bypassing the cache. `start` must be before its end."""
        with self._errors():
            found = obstore.get(self._store, name, options={"range": {"offset": start}})
            for piece in found.stream(min_chunk_size=PIECE):
                yield bytes(piece)

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one with this name, and return whether it was stored."""
        with self._errors():
            try:
                obstore.put(self._store, name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def copy_in(self, path: Path, name: str) -> None:
        with self._errors():
            obstore.put(self._store, name, path)

    def move_in(self, path: Path, name: str) -> None:
        self.copy_in(path, name)
        path.unlink(missing_ok=True)

    def uncached(self) -> ObjectBlobs:
        return ObjectBlobs(self._store, self.folder, self._address, BlockCache(self.folder, 0))

    def size_of(self, name: str) -> int:
        """Return the size of an object. Raises FileNotFoundError."""
        with self._errors():
            return obstore.head(self._store, name)["size"]

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        with self._errors():
            for page in obstore.list(self._store, prefix or None):
                for each in page:
                    yield BlobInfo(each["path"], each["size"], each["last_modified"].timestamp())

    def sizes(self, prefix: str) -> dict[str, int]:
        sizes: Counter[str] = Counter()
        for each in self.list(prefix):
            sizes[each.name.removeprefix(f"{prefix}/").split("/")[0]] += each.size
        return dict(sizes)

    def remove(self, prefix: str) -> None:
        self._cache.forget(prefix)
        names = [prefix, *(each.name for each in self.list(prefix))]
        with self._errors():
            obstore.delete(self._store, names)

    def probe(self) -> None:
        """Store an object, read it, and remove it. Raises BucketError."""
        name = f"probe/{uuid.uuid4().hex}"
        if not self.create(name, b"\n") or self.create(name, b"\n"):
            raise BucketError(
                f"{self}: {_FIXES['NotImplemented']}: it stored an object that was there already"
            )
        self.fetch(name, 0, 1)
        self.remove(name)

    def _fetch_block(self, name: str, number: int) -> bytes:
        return self.fetch(name, number * BLOCK, BLOCK)

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        """Translate obstore's errors to BucketError. FileNotFoundError stays if only an object is missing."""
        try:
            yield
        except FileNotFoundError as error:
            if _code(error) in (None, "NoSuchKey"):
                raise
            raise BucketError(f"{self}: {_explained(error)}") from error
        except BaseError as error:
            kind = BucketUnreachable if _is_away(error) else BucketError
            raise kind(f"{self}: {_explained(error)}") from error


def _is_away(error: Exception) -> bool:
    """Return whether the service can't be reached, or is temporarily unavailable."""
    text = str(error)
    return _code(error) not in _FIXES and bool(_HTTP.search(text) or _SERVER_ERROR.search(text))


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found[1] if found else None


def _explained(error: Exception) -> str:
    """Return a line that explains an error of the service and how to fix it."""
    code, text = _code(error), str(error)
    if code in _FIXES:
        return f"{_FIXES[code]} ({code})"
    if found := _MESSAGE.search(text):
        return f"{found[1]} ({code})"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"{_FIXES['AccessDenied']} ({text.splitlines()[0][:200]})"
    if "169.254." in text or "credential" in text.lower():
        return "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if found := _HTTP.search(text):
        return f"the service can't be reached ({found[1]}): is the endpoint in BLOBS_URL right, and up?"
    return text.splitlines()[0][:300]


def connect_bucket(
    address: BucketAddress, credentials: BucketCredentials | None, folder: Path, cache_bytes: int
) -> ObjectBlobs:
    """Return the blobs in a bucket, without sending a request yet. Raises StoreUnusable.

    Args:
        credentials: None to use the role of the machine or the container.
        folder: the folder for logs that are being written, and for the cache.
        cache_bytes: the maximum size of the cache.
    """
    config: S3Config = {
        "region": address.region,
        "virtual_hosted_style_request": address.endpoint is None,
    }
    if address.endpoint is not None:
        config["endpoint"] = address.endpoint
    if credentials is not None:
        config["access_key_id"] = credentials.key_id
        config["secret_access_key"] = credentials.secret
        if credentials.token is not None:
            config["session_token"] = credentials.token
    try:
        store = S3Store(
            address.bucket,
            prefix=address.prefix or None,
            config=config,
            client_options={
                "allow_http": (address.endpoint or "").startswith("http:"),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            },
        )
        cache = BlockCache(folder / CACHE, cache_bytes)
    except (BaseError, OSError) as error:
        raise StoreUnusable(f"{address}: {error}") from error
    return ObjectBlobs(store, folder, address, cache)
