"""The one file of a tar stream, however it is made and however it comes."""

from __future__ import annotations

import io
import tarfile
import time

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.web.pages.downloads import NotAFile, TarMember
from tests.test_tar_archive import ATTACKS, SECONDS

NAME = "résumé-" + "x" * 300 + ".bin"


def archive(content: bytes, name: str, form: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        about = tarfile.TarInfo(name)
        about.size, about.type = len(content), kind
        tar.addfile(about, io.BytesIO(content))
        tar.addfile(tarfile.TarInfo("another"), io.BytesIO(b""))
    return out.getvalue()


class Pieces:
    """Data that comes in pieces of a size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = iter([data[at : at + size] for at in range(0, len(data), size)])

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def read(data: bytes, name: str, size: int = 1000) -> tuple[int, bytes]:
    async def reading() -> tuple[int, bytes]:
        file = TarMember(Pieces(data, size), name)
        await file.read_header()
        return file.size, b"".join([piece async for piece in file])

    return trio.run(reading)


@settings(max_examples=40)
@given(
    st.binary(max_size=3000),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from(["a", NAME]),
    st.integers(1, 2000),
)
def test_the_archive_has_the_files_of_the_output(
    content: bytes, form: int, name: str, size: int
) -> None:
    made = archive(content, f"dir/{name}", form)
    assert read(made, name, size) == (len(content), content)


def test_a_directory_is_not_sent_as_a_file() -> None:
    for made in (
        archive(b"", "a", tarfile.PAX_FORMAT, tarfile.DIRTYPE),
        archive(b"x", "inner", tarfile.PAX_FORMAT),
    ):
        with pytest.raises(NotAFile, match="it is a directory"):
            read(made, "a")


def test_links_and_files_that_are_not_whole_archives_are_refused() -> None:
    with pytest.raises(NotAFile, match="not a regular file"):
        read(archive(b"", "a", tarfile.PAX_FORMAT, tarfile.SYMTYPE), "a")
    with pytest.raises(NotAFile, match="not a tar stream"):
        read(b"x" * 1024, "a")
    with pytest.raises(NotAFile, match="ends in the middle of the file"):
        read(archive(b"x" * 2000, "a", tarfile.PAX_FORMAT)[:1500], "a")


def test_an_archive_of_headers_only_is_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(NotAFile, match="the headers of a member have more than 256 KiB"):
        read(header.tobuf(tarfile.GNU_FORMAT) * 100, "a")


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"half a file", "half a header"}))
def test_endless_headers_are_refused_early(attack: str) -> None:
    began = time.process_time()
    with pytest.raises(NotAFile):
        read(ATTACKS[attack], "a", 100_000)
    assert time.process_time() - began < SECONDS


@settings(max_examples=40)
@given(st.binary(max_size=2000))
def test_any_archive_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(NotAFile):
        read(data, "a")
