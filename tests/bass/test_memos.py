"""Memos: read as anybody writes them, written in one way."""

from __future__ import annotations

import io
import tarfile
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from bassloop import bass
from bassloop.bass import memo_file
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.path import CommandPath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import ImageRef, Platform, Thunk
from bassloop.bass.values import Symbol, Value, from_list
from bassloop.bass.wire.encode import encode
from bassloop.wire import bass_pb2 as pb

from .strategies import data, texts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

RUN = Thunk(args=(CommandPath("run"),))
STRINGS = Thunk(args=(CommandPath("strings"),))

FILE = b"""\
memos: {
  module: {
    args: {
      command_path: {
        name: "strings"
      }
    }
  }
  calls: {
    binding: "upper-case"
    results: {
      input: {
        array: {
          values: {
            string: {
              value: "hello"
            }
          }
        }
      }
      output: {
        string: {
          value: "HELLO"
        }
      }
    }
  }
}
"""


def call(*args: Value, of: Thunk = STRINGS, binding: str = "upper-case") -> memo_file.MemoKey:
    return memo_file.memo_key(of, binding, from_list(args))


def test_a_memo_is_recalled_by_module_name_and_arguments() -> None:
    known = memo_file.parse(FILE, "bass.lock")
    assert memo_file.recall(known, call("hello")) == ("HELLO",)
    assert memo_file.recall(known, call("bye")) is None
    assert memo_file.recall(known, call("hello", binding="trim")) is None
    assert memo_file.recall(known, call("hello", of=RUN)) is None


def test_a_file_that_was_read_is_written_back_unchanged() -> None:
    assert memo_file.render(memo_file.parse(FILE, "bass.lock")) == FILE


@pytest.mark.parametrize(
    "text",
    [
        'memos { module { args { command_path { name: "strings" } } } calls { binding: "upper-case" results {'
        ' input { array { values { string { value: "hello" } } } } output { string { value: "HELLO" } } } } }',
        "memos < module < args < command_path < name: 'str' 'ings' > > > calls: < binding: 'upper-case', results <"
        " input < array < values < string < value: 'hel\\x6co' > > > > output: < string < value: 'HELLO'; > > > > >",
        FILE.decode().replace("memos: {", "# said by people\nmemos:   {"),
    ],
)
def test_other_spellings_of_the_same_text_format_can_be_read(text: str) -> None:
    assert memo_file.render(memo_file.parse(text.encode(), "bass.lock")) == FILE


def test_stored_memos_are_recalled_and_replaced() -> None:
    known = pb.Memosphere()
    memo_file.store(known, call("hello"), encode("HELLO"))
    assert memo_file.render(known) == FILE
    memo_file.store(known, call("a"), encode("A"))
    memo_file.store(known, call("hello"), encode("BYE"))
    memo_file.store(known, call(1, of=RUN, binding="x"), encode(None))
    assert memo_file.recall(known, call("hello")) == ("BYE",)
    assert memo_file.recall(known, call("a")) == ("A",)
    assert memo_file.recall(known, call(1, of=RUN, binding="x")) == (None,)
    assert [len(memo.calls) for memo in known.memos] == [1, 1]
    assert [len(memo.calls[0].results) for memo in known.memos] == [2, 1]


def test_a_memo_contains_no_path_of_this_machine() -> None:
    known = pb.Memosphere()
    memo_file.store(known, call("x"), encode(from_list([HostPath("/etc")])))
    text = memo_file.render(known)
    assert b"host_path" in text
    with pytest.raises(BassError, match="no message may grant"):
        memo_file.recall(memo_file.parse(text, "bass.lock"), call("x"))


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"memos: {",
        b"memos: { module: 1 }",
        b"memos { unknown: 1 }",
        b"\xff\xfe",
        b"memos: {}}",
    ],
)
def test_a_file_in_another_format_is_named(content: bytes) -> None:
    with pytest.raises(BassError, match=r"bass\.lock holds no memos"):
        memo_file.parse(content, "bass.lock")


def test_a_file_nested_without_end_is_refused() -> None:
    text = "memos { module " + "{ image { thunk " * 100_000
    with pytest.raises(BassError, match="nested deeper"):
        memo_file.parse(text.encode(), "bass.lock")


def test_braces_in_strings_do_not_count_as_nesting() -> None:
    known = pb.Memosphere()
    memo_file.store(known, call("{" * 1000), encode("x"))
    assert memo_file.recall(
        memo_file.parse(memo_file.render(known), "bass.lock"), call("{" * 1000)
    ) == ("x",)


def test_an_argument_that_is_not_data_cannot_be_stored() -> None:
    with pytest.raises(BassError, match="cannot encode symbol"):
        call(Symbol("a"))


def test_an_image_is_stored_completely() -> None:
    image = Thunk(image=ImageRef("alpine", Platform("linux", "amd64"), "latest", "sha256:1"))
    known = pb.Memosphere()
    memo_file.store(known, call("linux", of=RUN, binding="resolve"), encode(image))
    found = memo_file.recall(
        memo_file.parse(memo_file.render(known), "x"), call("linux", of=RUN, binding="resolve")
    )
    assert found is not None
    assert equal(found[0], image)


@given(st.lists(st.tuples(texts, data, data), max_size=4))
def test_written_memos_are_valid_text_format_and_are_read_back_unchanged(
    entries: list[tuple[str, Value, Value]],
) -> None:
    known = pb.Memosphere()
    for binding, argument, output in entries:
        memo_file.store(known, call(argument, binding=binding), encode(output))
    text = memo_file.render(known)
    assert text_format.Parse(text.decode(), pb.Memosphere()) == known
    again = memo_file.parse(text, "bass.lock")
    assert memo_file.render(again) == text
    for binding, argument, output in {(b, show(a)): (b, a, o) for b, a, o in entries}.values():
        found = memo_file.recall(again, call(argument, binding=binding))
        assert found is not None
        assert show(found[0]) == show(output)


def archive_of(content: bytes, kind: bytes = tarfile.REGTYPE, **records: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("bass.lock")
        member.type, member.size, member.pax_headers = kind, len(content), records
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


class Exporter(bass.Host):
    """A host whose thunks have only one file."""

    def __init__(self, archive: bytes) -> None:
        self.archive = archive

    @asynccontextmanager
    async def _pieces(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncGenerator[bytes]:
            for start in range(0, len(self.archive), 100_000):
                yield self.archive[start : start + 100_000]

        yield pieces()

    def export_path(self, path: bass.ThunkPath) -> bass.ByteStream:
        return self._pieces()


def recalled(archive: bytes) -> Value:
    """Return what a script recalls from a file that a thunk has made."""
    session = bass.immediate_session(Exporter(archive))
    script = '(defn recalled [] (recall-memo (subpath ($ make) ./bass.lock) (.strings) :upper-case ["hello"]))'

    async def recall() -> Value:
        module = await session.load(script, "project.bass", None)
        return await session.call(bass.binding(module, "recalled", "project.bass"))

    return bass.run_now(recall())


def test_memos_in_a_file_that_a_thunk_has_made_are_recalled() -> None:
    assert recalled(archive_of(FILE)) == "HELLO"
    assert recalled(archive_of(FILE, path="x" * 200)) == "HELLO"


QUADRATIC = archive_of(FILE, comment="1" * 10_000_000)
"""Some versions of `tarfile` take hours to read this header."""


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (b"", "ends in the middle of a header"),
        (bytes(1024), "isn't a file"),
        (archive_of(b"", tarfile.DIRTYPE), "isn't a file"),
        (archive_of(b"", tarfile.SYMTYPE), "isn't a file"),
        (archive_of(FILE)[:600], "ends in the middle of a file"),
        (b"\x1f\x8b" + bytes(1022), "cannot be read"),
        (QUADRATIC, "more than 256 KiB"),
    ],
)
def test_what_a_thunk_made_instead_of_memos_is_refused(archive: bytes, problem: str) -> None:
    began = time.process_time()
    with pytest.raises(BassError, match=problem):
        recalled(archive)
    assert time.process_time() - began < 30
