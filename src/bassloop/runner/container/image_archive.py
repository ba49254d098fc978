"""Rewrite image archives: before an engine loads them, and before they are sent.

An engine names images as their archive says, so a stranger's archive could replace another image. Archives to be
loaded are rewritten to contain only the runner's own name. Archives to be sent get the configuration that the thunk
sets, instead of its container's.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from bassloop.runner.errors import DriverError
from bassloop.tar_archive import UNPACK_ERRORS, read_members, uncompressed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_DOCUMENT = 4 << 20
MAX_MEMBERS = 100_000
REF_NAME = "org.opencontainers.image.ref.name"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageSelector:
    """Selects an image in an archive. Without a tag, the first one for the platform is selected."""

    tag: str | None
    arch: str


class _CheckedReader(io.BufferedReader):
    """A file that calls a function before each read."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(io.FileIO(path))
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


def import_archive(
    source: Path,
    target: Path,
    selector: ImageSelector,
    name: str,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write an archive with one image of `source`, under the name `name`. Raises DriverError, OSError.

    The source may be an OCI layout, or an archive that `docker save` wrote, of any version.

    Args:
        check: called before each read, because a small file may unpack to any size. It may raise to stop the import.
    """
    try:
        with _CheckedReader(source, check) as file, uncompressed(file) as plain:
            tar = _Archive(plain)
            if "index.json" in tar:
                _import_layout(tar, target, tar.document("index.json"), selector, name)
            elif "manifest.json" in tar:
                _import_docker(tar, target, tar.document("manifest.json"), selector, name)
            else:
                raise DriverError("the archive has neither an index.json nor a manifest.json")
    except (
        *UNPACK_ERRORS,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise DriverError(f"this is not an archive of an image: {error}") from error


class _Archive:
    """The files and links in an archive, by name. The archive is read once, from beginning to end. Raises BadTar."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members: dict[str, tarfile.TarInfo] = {}
        for count, member in enumerate(read_members(file)):
            if count >= MAX_MEMBERS:
                raise DriverError(f"an archive may have {MAX_MEMBERS:,} members at most")
            self._members[member.name.removeprefix("./")] = member

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> tarfile.TarInfo:
        return self._members[name]

    def document(self, name: str) -> Any:
        """Return the JSON of a member. Raises DriverError."""
        member = self._members[name]
        if not member.isreg() or member.size > MAX_DOCUMENT:
            raise DriverError(f"{name[:100]!r} in the archive isn't a file, or is too large")
        self._file.seek(member.offset_data)
        return json.loads(self._file.read(member.size))

    def blob(self, digest: str) -> tarfile.TarInfo:
        """Return the file with a digest. Raises DriverError, or KeyError."""
        member = self._members[f"blobs/sha256/{_hex(digest)}"]
        if not member.isreg():
            raise DriverError(f"{digest} in the archive is not a file")
        return member

    def blob_document(self, digest: str) -> Document:
        """Return the JSON object with a digest. Raises DriverError, or KeyError."""
        document = self.document(self.blob(digest).name.removeprefix("./"))
        if not isinstance(document, dict):
            raise DriverError("a JSON document in the archive is not an object")
        return document

    def copy(self, member: tarfile.TarInfo, out: tarfile.TarFile, name: str) -> None:
        """Copy a file of this archive into another one."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = member.size, 0o644
        self._file.seek(member.offset_data)
        out.addfile(info, self._file)


# --- an OCI layout ------------------------------------------------------------------------------------


def _import_layout(
    tar: _Archive, target: Path, index: Document, selector: ImageSelector, name: str
) -> None:
    descriptor = _choose(tar, index, selector)
    manifest = tar.blob_document(descriptor["digest"])
    needed = [descriptor, manifest["config"], *manifest["layers"]]
    with tarfile.open(target, "w") as out:
        _write_layout(out, descriptor, name)
        for digest in dict.fromkeys(str(each["digest"]) for each in needed):
            tar.copy(tar.blob(digest), out, f"blobs/sha256/{_hex(digest)}")


def _choose(
    tar: _Archive,
    index: Document,
    selector: ImageSelector,
    depth: int = 0,
) -> Document:
    """Return the descriptor of the selected manifest. Raises DriverError."""
    found: list[Document] = []
    for each in index["manifests"]:
        platform = each.get("platform") or {}
        if platform and (platform.get("os"), platform.get("architecture")) != (
            "linux",
            selector.arch,
        ):
            continue
        tag = (each.get("annotations") or {}).get(REF_NAME)
        if selector.tag and not depth and tag is not None and not _is_tag(tag, selector.tag):
            continue
        if selector.tag and not depth and tag is None:
            continue
        found.append(each)
    if not found:
        named = f" with the tag {selector.tag}" if selector.tag and not depth else ""
        raise DriverError(f"the archive has no image for linux/{selector.arch}{named}")
    first = found[0]
    if first.get("mediaType") in INDEXES:
        if depth > 3:
            raise DriverError("the archive's indexes are nested too deep")
        return _choose(tar, tar.blob_document(first["digest"]), selector, depth + 1)
    return first


def _is_tag(written: str, tag: str) -> bool:
    return written == tag or written.rpartition(":")[2] == tag


def _hex(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or not re.fullmatch("[0-9a-f]{64}", value):
        raise DriverError(f"{digest[:80]!r} can't be a digest")
    return value


def _write_layout(out: tarfile.TarFile, descriptor: Document, name: str | None) -> None:
    slim = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
    if name is not None:
        slim["annotations"] = {REF_NAME: name}
    index = {"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": [slim]}
    _add(out, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    _add(out, "index.json", json.dumps(index).encode())
    for folder in ("blobs/", "blobs/sha256/"):
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        out.addfile(info)


def _add(out: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    out.addfile(info, io.BytesIO(content))


# --- archives of `docker save` ------------------------------------------------------------------------


def _import_docker(
    tar: _Archive,
    target: Path,
    manifests: list[Document],
    selector: ImageSelector,
    name: str,
) -> None:
    found = [
        each
        for each in manifests
        if not selector.tag or any(_is_tag(tag, selector.tag) for tag in each.get("RepoTags") or ())
    ]
    if not found:
        raise DriverError(f"the archive has no image with the tag {selector.tag}")
    chosen = found[0]
    names = dict.fromkeys([str(chosen["Config"]), *map(str, chosen["Layers"])])
    with tarfile.open(target, "w") as out:
        flat = {each: f"{number}.tar" for number, each in enumerate(names)}
        flat[str(chosen["Config"])] = "config.json"
        for each, short in flat.items():
            tar.copy(_regular(tar, each), out, short)
        manifest = {
            "Config": "config.json",
            "RepoTags": [name],
            "Layers": [flat[str(each)] for each in chosen["Layers"]],
        }
        _add(out, "manifest.json", json.dumps([manifest]).encode())


def _regular(tar: _Archive, name: str) -> tarfile.TarInfo:
    """Return a file in the archive, following links, which old archives use for equal layers."""
    member = tar[name]
    if member.issym() or member.islnk():
        folder = name.rpartition("/")[0]
        path = member.linkname if member.islnk() else f"{folder}/{member.linkname}"
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        member = tar["/".join(parts)]
    if not member.isreg():
        raise DriverError(f"{name[:100]!r} in the archive is not a file")
    return member


# --- export -------------------------------------------------------------------------------------------


def export_archive(
    source: Path, out: BinaryIO, change: Callable[[Document], Document], name: str | None = None
) -> None:
    """Write an OCI archive of the single image in the OCI archive `source`, with another configuration.

    It also contains a `manifest.json`, for engines that don't support OCI layouts. Raises DriverError, OSError.

    Args:
        change: takes the image's `config` and returns the new one.
        name: the image's name in the archive, if any.
    """
    with source.open("rb") as file, tarfile.open(fileobj=out, mode="w|") as writer:
        tar = _Archive(file)
        index = tar.document("index.json")
        manifest = tar.blob_document(index["manifests"][0]["digest"])
        config = tar.blob_document(manifest["config"]["digest"])
        config["config"] = change(config.get("config") or {})
        for entry in config.get("history") or ():
            entry.pop("created_by", None)  # the engine's command line
        config_blob = json.dumps(config).encode()
        manifest["config"].update(digest=_digest(config_blob), size=len(config_blob))
        manifest_blob = json.dumps(manifest).encode()
        media = manifest.get("mediaType", MANIFEST)
        descriptor = {
            "mediaType": media,
            "digest": _digest(manifest_blob),
            "size": len(manifest_blob),
        }
        _write_layout(writer, descriptor, name)
        for blob in (config_blob, manifest_blob):
            _add(writer, f"blobs/sha256/{_hex(_digest(blob))}", blob)
        layers = [_hex(str(each["digest"])) for each in manifest["layers"]]
        for each in dict.fromkeys(layers):
            tar.copy(tar.blob(f"sha256:{each}"), writer, f"blobs/sha256/{each}")
        docker = {
            "Config": f"blobs/sha256/{_hex(_digest(config_blob))}",
            "RepoTags": [name] if name else None,
            "Layers": [f"blobs/sha256/{each}" for each in layers],
        }
        _add(writer, "manifest.json", json.dumps([docker]).encode())


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
