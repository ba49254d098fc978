"""Thunks within thunks: the same bytes as nested messages have, and no end to how deep they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.json import encode as encode_json
from bassloop.bass.path import CommandPath, DirPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import ImageRef, Mount, Platform, Thunk, ThunkPath
from bassloop.bass.values import from_list
from bassloop.bass.wire.decode import decode_encoded_thunk
from bassloop.bass.wire.digest import digest_of_encoded, encode_go_order, thunk_digest
from bassloop.bass.wire.encode import encode, encode_thunk, encoded_thunk
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import TooManyParts, flatten, index_of, nested, nested_type

from .strategies import thunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.values import Value

ALPINE = ImageRef("alpine", Platform("linux", "amd64"), "3")
LEVELS = 2_000


def command(script: str, **parts: object) -> Thunk:
    return Thunk(args=(CommandPath("sh"), "-c", script), **parts)  # type: ignore[arg-type]


def mounted(levels: int) -> Thunk:
    thunk = command("first", image=ALPINE)
    for level in range(levels):
        mount = Mount(ThunkPath(thunk, DirPath("out")), DirPath("in"))
        thunk = command(f"{level}", image=ALPINE, mounts=(mount,))
    return thunk


def chained(levels: int) -> Thunk:
    thunk = command("first", image=ALPINE)
    for level in range(levels):
        thunk = command(f"{level}", image=thunk)
    return thunk


def given_as_argument(levels: int) -> Thunk:
    thunk = command("first")
    for level in range(levels):
        thunk = command(f"{level}", stdin=(from_list([thunk]),))
    return thunk


def doubled(levels: int) -> Thunk:
    thunk = command("first")
    for level in range(levels):
        thunk = command(f"{level}", stdin=(thunk, thunk))
    return thunk


@given(thunks)
def test_thunks_are_encoded_as_nested_messages(thunk: Thunk) -> None:
    encoded = encoded_thunk(thunk)
    assert encoded == encode_go_order(nested(encode_thunk(thunk)))
    assert encoded_thunk(decode_encoded_thunk(encoded)) == encoded


@given(thunks)
def test_nested_messages_are_decoded_whatever_the_order_of_their_fields(thunk: Thunk) -> None:
    encoded = encoded_thunk(thunk)
    by_number = nested_type("bass.Thunk").FromString(encoded).SerializeToString()
    assert encoded_thunk(decode_encoded_thunk(by_number)) == encoded


@given(thunks)
def test_each_thunk_is_listed_once_and_after_those_that_it_is_made_of(thunk: Thunk) -> None:
    encoded = encoded_thunk(thunk)
    flat = flatten(encoded, 10_000)
    assert len({each.encoded for each in flat}) == len(flat)
    assert (flat[-1].start, flat[-1].end) == (0, len(encoded))
    for each in flat:
        found = encoded[each.start : each.end]
        assert digest_of_encoded(found) == thunk_digest(decode_encoded_thunk(found))


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(garbage: bytes) -> None:
    for each in (garbage, encoded_thunk(mounted(3))[:40] + garbage):
        try:
            flatten(each, 100)
        except (DecodeError, TooManyParts):
            with pytest.raises(BassError):
                decode_encoded_thunk(each)


@pytest.mark.parametrize("chain", [mounted, chained, given_as_argument])
def test_thousands_of_nested_thunks_survive_encoding_and_decoding(
    chain: Callable[[int], Thunk],
) -> None:
    thunk = chain(LEVELS)
    encoded = encoded_thunk(thunk)
    again = decode_encoded_thunk(encoded)
    assert encoded_thunk(again) == encoded
    assert thunk_digest(again) == thunk_digest(thunk)
    assert show(again) == show(thunk)
    assert equal(again, thunk)
    assert not equal(again, chain(LEVELS - 1))
    assert encode_json(thunk).count('"sh"') == LEVELS + 1


def test_a_thunk_that_is_used_over_and_over_is_decoded_once() -> None:
    encoded = encoded_thunk(doubled(12))
    assert len(flatten(encoded, 100_000)) == 13
    thunk = decode_encoded_thunk(encoded)
    first, second = thunk.stdin
    assert first is second


def test_references_are_positions_in_the_list() -> None:
    inner, outer = flatten(encoded_thunk(doubled(1)), 100)
    message = pb.Thunk.FromString(outer.encoded)
    assert [index_of(value.thunk) for value in message.stdin] == [0, 0]
    assert pb.Thunk.FromString(inner.encoded) == encode_thunk(doubled(0))


def test_thunks_that_would_be_too_large_are_refused_before_they_are_encoded() -> None:
    with pytest.raises(BassError, match=r"500,000 parts and 64 MiB.*counts as often"):
        encoded_thunk(doubled(100))
    many = encoded_thunk(command("x", stdin=(None,) * 300_000))
    with pytest.raises(BassError, match="500,000 parts"):
        decode_encoded_thunk(many * 2)


def test_encoded_lists_are_no_deeper_than_parsers_allow() -> None:
    def nested_lists(depth: int) -> Value:
        value: Value = None
        for _ in range(depth):
            value = from_list([value])
        return value

    encode(nested_lists(44))
    decode_encoded_thunk(encoded_thunk(command("x", stdin=(nested_lists(44),))))
    with pytest.raises(BassError, match="nested too deep"):
        encode(nested_lists(46))


def test_messages_nested_deeper_than_protobuf_decodes_are_refused() -> None:
    def arrays(depth: int) -> bytes:
        value = pb.Value(thunk=pb.Thunk(entrypoint=["true"]).SerializeToString())
        for _ in range(depth):
            value = pb.Value(array=pb.Array(values=[value]))
        return pb.Thunk(args=[value]).SerializeToString()

    deepest = next(n for n in range(200) if _fails_to_decode(arrays(n))) - 1
    assert len(flatten(arrays(deepest), 1_000)) == 2
    # Otherwise, each level would be copied once for each level around it.
    with pytest.raises(DecodeError):
        flatten(arrays(deepest + 1), 1_000)


def _fails_to_decode(thunk: bytes) -> bool:
    try:
        pb.Thunk.FromString(thunk)
    except DecodeError:
        return True
    return False
