"""Archives are read as tarfile reads them, and those of attackers end soon."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.bass.errors import BassError
from bassloop.bass.json_stream import END
from bassloop.bass.stream import TarDecoder
from bassloop.tar_archive import (
    MAX_HEADERS,
    MAX_RECORDS,
    BadTar,
    TarHeaderReader,
    content_size,
    read_members,
    uncompressed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 2.0
"""How long a reader may compute for an attack, on a machine with other work."""

KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=200)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    out = io.BytesIO()
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, kind, content, uid in draw(
            st.lists(
                st.tuples(
                    names, st.sampled_from(KINDS), st.binary(max_size=2000), st.integers(0, 1 << 40)
                )
            )
        ):
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.uname, member.linkname = kind, uid, name, name[::-1]
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def facts(member: tarfile.TarInfo) -> tuple[object, ...]:
    return (
        member.name.rstrip("/"),
        member.type,
        member.size,
        member.linkname.rstrip("/"),
        member.mode,
        member.uid,
        member.gid,
        member.uname,
        member.offset_data,
    )


@given(archives(), st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]))
def test_the_members_are_the_same_as_with_tarfile(
    archive: bytes, compress: Callable[[bytes], bytes]
) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        expected = [facts(each) for each in tar]
    file = uncompressed(io.BytesIO(compress(archive)))
    assert [facts(each) for each in read_members(file)] == expected


def header(name: str, kind: bytes, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def extended(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("x", kind, len(content)) + padded(content)


def changed(block: bytes, at: int, by: bytes) -> bytes:
    """Return a header with other bytes in one place, and the right sum."""
    new = bytearray(block)
    new[at : at + len(by)] = by
    new[148:156] = b" " * 8
    new[148:156] = b"%06o\0 " % sum(new)
    return bytes(new)


def record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3
    while size != (longer := len(key) + len(value) + 3 + len(str(size))):
        size = longer
    return b"%d %s=%s\n" % (size, key, value)


FILE = header("a", tarfile.REGTYPE, 3) + padded(b"abc")
END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)
SPARSE = header("a", tarfile.GNUTYPE_SPARSE)
SIZE, SPARSE_MORE, SPARSE_REAL_SIZE = 124, 482, 483

ATTACKS = {
    "digits without an end": extended(b"1" * 250_000) + FILE,
    "a path of digits": extended(record(b"path", b"1" * 250_000)) + FILE,
    "headers of headers": extended(b"") * 2_000 + FILE,
    "names of names": extended(b"a\0", tarfile.GNUTYPE_LONGNAME) * 2_000 + FILE,
    "records of nothing": extended(record(b"", b"") * (MAX_RECORDS + 1)) + FILE,
    "headers of a record": extended(record(b"a", b"")) * (MAX_RECORDS + 1) + FILE,
    "a header of 3 GiB": header("x", tarfile.XHDTYPE, 3 << 30) + bytes(10_000),
    "a name of 3 GiB": header("x", tarfile.GNUTYPE_LONGNAME, 3 << 30) + bytes(10_000),
    "a global header of 3 GiB": header("x", tarfile.XGLTYPE, 3 << 30) + bytes(10_000),
    "a sparse file": changed(SPARSE, SPARSE_REAL_SIZE, b"\x80\0\0\0\0" + (1 << 50).to_bytes(7)),
    "a sparse map that isn't there": changed(SPARSE, SPARSE_MORE, b"\1"),
    "a sparse file of PAX": extended(
        record(b"GNU.sparse.major", b"1")
        + record(b"GNU.sparse.minor", b"0")
        + record(b"GNU.sparse.realsize", b"1152921504606846976")
    )
    + header("a", tarfile.REGTYPE, 512)
    + padded(b"1\n0\n0\n"),
    "a negative size": changed(header("a", tarfile.REGTYPE), SIZE, b"\xff" * 10 + b"\xf8\0"),
    "a huge size": changed(header("a", tarfile.REGTYPE), SIZE, b"\x80" + b"\xff" * 11),
    "a negative size of PAX": extended(record(b"size", b"-1024")) + header("a", tarfile.REGTYPE),
    "a huge size of PAX": extended(record(b"size", b"9" * 19)) + header("a", tarfile.REGTYPE),
    "a length of zero": extended(b"0 a=b\n" * 1_000) + FILE,
    "a length that is no number": extended(b"9999999999999999999 a=b\n") + FILE,
    "a record that isn't whole": extended(b"100 path=a\n") + FILE,
    "a name that is too long": extended(b"a" * 5_000, tarfile.GNUTYPE_LONGNAME) + FILE,
    "half a header": FILE + FILE[:100],
    "half a file": FILE[:514],
    "nonsense": b"x" * 1024,
    "nothing": b"",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_archive_is_refused_early(attack: str) -> None:
    began = time.process_time()
    with pytest.raises(BadTar):
        list(read_members(io.BytesIO(ATTACKS[attack] + END_OF_ARCHIVE * attack.startswith("a "))))
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"nothing"}))
def test_a_hook_that_reads_a_malformed_archive_gets_an_error(attack: str) -> None:
    decoder = TarDecoder()
    decoder.feed(ATTACKS[attack])
    decoder.close()
    began = time.process_time()
    with pytest.raises(BassError, match="this isn't a tar archive"):
        list(iter(decoder.next, END))
    assert time.process_time() - began < SECONDS


def test_hooks_refuse_names_that_lead_elsewhere() -> None:
    for name, refused in (
        ("../a", True),
        ("/etc/passwd", False),
        ("a/../../b", True),
        ("a\nb", False),
    ):
        decoder = TarDecoder()
        decoder.feed(header(name, tarfile.REGTYPE))
        decoder.close()
        if refused:
            with pytest.raises(BassError, match="impossible name"):
                decoder.next()
        else:
            assert "FSPath" in type(decoder.next().value).__name__  # type: ignore[union-attr]


def test_a_hook_unpacks_no_more_than_its_limit() -> None:
    member = header("a", tarfile.REGTYPE, 200 << 20)
    decoder = TarDecoder()
    decoder.feed(gzip.compress(member + bytes(200 << 20), 1))
    decoder.close()
    with pytest.raises(BassError, match="larger than 64 MiB"):
        decoder.next()


@given(archives(), st.data())
@example(b"", None)
def test_any_archive_is_read_or_refused(archive: bytes, data: st.DataObject | None) -> None:
    broken = bytearray(archive)
    if data is not None:
        for _ in range(data.draw(st.integers(0, 20))):
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        del broken[data.draw(st.integers(0, len(broken))) :]
    try:
        for member in read_members(io.BytesIO(broken)):
            assert 0 <= content_size(member) <= len(broken)
            assert len(member.name.encode("utf-8", "surrogateescape")) <= 4_096
    except BadTar:
        pass


def test_a_reader_never_requests_many_bytes() -> None:
    for attack in ATTACKS.values():
        reader, at = TarHeaderReader(), 0
        with_end = attack + bytes(2 * MAX_HEADERS)
        try:
            while reader.wanted:
                assert reader.wanted <= MAX_HEADERS
                reader.feed(with_end[at : at + reader.wanted])
                at += reader.wanted
        except BadTar:
            pass
