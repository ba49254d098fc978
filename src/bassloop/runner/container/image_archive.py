"""Rewrite archives of images before an engine loads them, and before they are sent.

An engine gives the images in an archive the names that the archive says, so a stranger's archive could
replace another image. What an engine loads has our name only. What is sent has the configuration that the
thunk says, and not what its container happened to have.
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
_BLOB = re.compile(r"(?:\./)?blobs/sha256/([0-9a-f]{64})\Z")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageSelector:
    """Selects an image of an archive; without a tag, the first one for the platform."""

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
    """Write an archive with one image of `source`, under our name. Raises DriverError, OSError.

    The source may be an OCI layout, or what `docker save` has always written.

    Args:
        check: called again and again, as a small file may unpack to any size; what it raises ends this.
    """
    try:
        with _CheckedReader(source, check) as file, tarfile.open(fileobj=file, mode="r:*") as tar:
            documents = _documents(tar, ("index.json", "manifest.json"))
            if "index.json" in documents:
                _import_layout(tar, target, documents["index.json"], selector, name)
            elif "manifest.json" in documents:
                _import_docker(tar, target, documents["manifest.json"], selector, name)
            else:
                raise DriverError("the archive has neither an index.json nor a manifest.json")
    except (
        tarfile.TarError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise DriverError(f"this is not an archive of an image: {error}") from error


def _documents(tar: tarfile.TarFile, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for count, member in enumerate(tar):
        if count > MAX_MEMBERS:
            raise DriverError(f"an archive has {MAX_MEMBERS:,} members at most")
        name = member.name.removeprefix("./")
        if name in names and member.isreg():
            found[name] = _read_document(tar, member)
    return found


def _read_document(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    if member.size > MAX_DOCUMENT:
        raise DriverError(f"{member.name} in the archive is too large")
    file = tar.extractfile(member)
    assert file is not None
    return json.loads(file.read())


# --- an OCI layout ------------------------------------------------------------------------------------


def _import_layout(
    tar: tarfile.TarFile, target: Path, index: Document, selector: ImageSelector, name: str
) -> None:
    blobs = _blobs(tar)
    descriptor = _choose(tar, blobs, index, selector)
    manifest = _blob_document(tar, blobs, descriptor["digest"])
    needed = [descriptor, manifest["config"], *manifest["layers"]]
    with tarfile.open(target, "w") as out:
        _write_layout(out, descriptor, name)
        for digest in dict.fromkeys(str(each["digest"]) for each in needed):
            _copy(tar, blobs[_hex(digest)], out, f"blobs/sha256/{_hex(digest)}")


def _choose(
    tar: tarfile.TarFile,
    blobs: dict[str, tarfile.TarInfo],
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
        inner = _blob_document(tar, blobs, first["digest"])
        return _choose(tar, blobs, inner, selector, depth + 1)
    return first


def _is_tag(written: str, tag: str) -> bool:
    return written == tag or written.rpartition(":")[2] == tag


def _blobs(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    found = {}
    for member in tar.getmembers():
        blob = _BLOB.match(member.name)
        if blob and member.isreg():
            found[blob[1]] = member
    return found


def _blob_document(
    tar: tarfile.TarFile, blobs: dict[str, tarfile.TarInfo], digest: str
) -> Document:
    document = _read_document(tar, blobs[_hex(digest)])
    if not isinstance(document, dict):
        raise DriverError("a document in the archive is not an object")
    return document


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


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, out: tarfile.TarFile, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = member.size, 0o644
    out.addfile(info, tar.extractfile(member))


# --- what `docker save` writes ------------------------------------------------------------------------


def _import_docker(
    tar: tarfile.TarFile,
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
    members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
    with tarfile.open(target, "w") as out:
        flat = {each: f"{number}.tar" for number, each in enumerate(names)}
        flat[str(chosen["Config"])] = "config.json"
        for each, short in flat.items():
            _copy(tar, _regular(members, each), out, short)
        manifest = {
            "Config": "config.json",
            "RepoTags": [name],
            "Layers": [flat[str(each)] for each in chosen["Layers"]],
        }
        _add(out, "manifest.json", json.dumps([manifest]).encode())


def _regular(members: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    """Return a file of the archive, following links, which old archives have to equal layers."""
    member = members[name]
    if member.issym() or member.islnk():
        folder = name.rpartition("/")[0]
        path = member.linkname if member.islnk() else f"{folder}/{member.linkname}"
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        member = members["/".join(parts)]
    if not member.isreg():
        raise DriverError(f"{name[:100]!r} in the archive is not a file")
    return member


# --- before they are sent -----------------------------------------------------------------------------------


def export_archive(
    source: Path, out: BinaryIO, change: Callable[[Document], Document], name: str | None = None
) -> None:
    """Write an OCI archive of the one image in the OCI archive `source`, with another configuration.

    It also has a `manifest.json`, for engines that don't know layouts. Raises DriverError, OSError.

    Args:
        change: returns the `config` that the image should have.
        name: the name that the archive gives the image, if any.
    """
    with tarfile.open(source, "r:") as tar, tarfile.open(fileobj=out, mode="w|") as writer:
        blobs = _blobs(tar)
        index = _documents(tar, ("index.json",))["index.json"]
        manifest = _blob_document(tar, blobs, index["manifests"][0]["digest"])
        config = _blob_document(tar, blobs, manifest["config"]["digest"])
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
            _copy(tar, blobs[each], writer, f"blobs/sha256/{each}")
        docker = {
            "Config": f"blobs/sha256/{_hex(_digest(config_blob))}",
            "RepoTags": [name] if name else None,
            "Layers": [f"blobs/sha256/{each}" for each in layers],
        }
        _add(writer, "manifest.json", json.dumps([docker]).encode())


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
