"""Messages: the reference's, byte for byte, and there and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from hypothesis import given

from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.json import encode as encode_json
from bassloop.bass.json import message_json
from bassloop.bass.path import DirPath, FilePath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import ImageRef, Mount, Platform, Thunk
from bassloop.bass.wire.decode import decode, decode_thunk
from bassloop.bass.wire.digest import digest_of, encode_go_order, thunk_digest, thunk_sha256
from bassloop.bass.wire.encode import encode, encode_thunk
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import nested

from .conformance.corpus import answers
from .strategies import data, thunks

if TYPE_CHECKING:
    from bassloop.bass.values import Value

VECTORS = [answer for answer in answers() if "proto" in answer]
THUNKS = [answer for answer in VECTORS if "digest" in answer]


def test_there_are_enough_messages_of_the_reference_to_compare_with() -> None:
    assert len(THUNKS) >= 500
    assert len(VECTORS) >= 2000


def test_messages_are_encoded_to_the_same_bytes_as_in_go() -> None:
    for answer in VECTORS:
        raw = bytes.fromhex(answer["proto"])
        message = (pb.Thunk if "digest" in answer else pb.Value).FromString(raw)
        assert encode_go_order(message) == raw, answer["program"]


def test_thunks_have_the_same_names_as_in_go() -> None:
    for answer in THUNKS:
        assert digest_of(pb.Thunk.FromString(bytes.fromhex(answer["proto"]))) == answer["digest"], (
            answer["program"]
        )


def test_messages_of_the_reference_survive_decoding_and_encoding() -> None:
    taken = 0
    for answer in VECTORS:
        raw = bytes.fromhex(answer["proto"])
        if "digest" in answer:
            thunk = pb.Thunk.FromString(raw)
            if "hostPath" in message_json(thunk) or '"host":' in message_json(thunk):
                continue
            assert encode_go_order(encode_thunk(decode_thunk(thunk))) == raw, answer["program"]
        else:
            value = pb.Value.FromString(raw)
            if "hostPath" in message_json(value) or '"host":' in message_json(value):
                continue
            assert encode_go_order(encode(decode(value))) == raw, answer["program"]
        taken += 1
    assert taken >= 1900


def test_a_tag_and_a_digest_come_before_the_repository() -> None:
    message = pb.ImageRef(platform=pb.Platform(), repository="r", tag="t", digest="d")
    assert encode_go_order(message) == b"\x0a\x00\x22\x01t\x2a\x01d\x12\x01r"
    assert message.SerializeToString() == b"\x0a\x00\x12\x01r\x22\x01t\x2a\x01d"


@given(thunks)
def test_a_thunk_is_the_same_after_encoding_and_decoding(thunk: Thunk) -> None:
    message = encode_thunk(thunk)
    again = decode_thunk(pb.Thunk.FromString(message.SerializeToString()))
    assert encode_thunk(again) == message
    assert thunk_digest(again) == thunk_digest(thunk)


@given(thunks)
def test_gos_order_of_fields_contains_the_same_fields(thunk: Thunk) -> None:
    message = encode_thunk(thunk)
    raw = encode_go_order(message)
    assert pb.Thunk.FromString(raw) == message
    assert len(raw) == message.ByteSize()


@given(thunks)
def test_the_json_of_a_thunk_is_protobufs_json(thunk: Thunk) -> None:
    message = encode_thunk(thunk)
    assert json.loads(encode_json(thunk)) == json.loads(json_format.MessageToJson(nested(message)))
    assert json_format.Parse(message_json(message), type(nested(message))()) == nested(message)


@given(data)
def test_data_is_the_same_after_encoding_and_decoding(value: Value) -> None:
    assert show(decode(pb.Value.FromString(encode(value).SerializeToString()))) == show(value)


HOST = pb.HostPath(context="/etc", path=pb.FilesystemPath(file=pb.FilePath(path="passwd")))


@pytest.mark.parametrize(
    "thunk",
    [
        pb.Thunk(args=[pb.Value(host_path=HOST)]),
        pb.Thunk(stdin=[pb.Value(array=pb.Array(values=[pb.Value(host_path=HOST)]))]),
        pb.Thunk(env=[pb.Binding(symbol="A", value=pb.Value(host_path=HOST))]),
        pb.Thunk(labels=[pb.Binding(symbol="A", value=pb.Value(host_path=HOST))]),
        pb.Thunk(dir=pb.ThunkDir(host=HOST)),
        pb.Thunk(mounts=[pb.ThunkMount(source=pb.ThunkMountSource(host=HOST))]),
        pb.Thunk(image=pb.ThunkImage(archive=pb.ImageArchive(file=pb.ImageBuildInput(host=HOST)))),
        pb.Thunk(
            image=pb.ThunkImage(
                docker_build=pb.ImageDockerBuild(context=pb.ImageBuildInput(host=HOST))
            )
        ),
        pb.Thunk(
            image=pb.ThunkImage(thunk=pb.Thunk(args=[pb.Value(host_path=HOST)]).SerializeToString())
        ),
    ],
)
def test_no_message_contains_a_path_of_this_machine(thunk: pb.Thunk) -> None:
    with pytest.raises(BassError, match="no message may grant"):
        decode_thunk(thunk)


def test_a_path_that_a_command_line_handed_out_is_sent_to_its_own_runtime() -> None:
    thunk = Thunk(args=("ls",), mounts=(Mount(HostPath("/home/me"), DirPath(".")),))
    assert encode_thunk(thunk).mounts[0].source.host.context == "/home/me"


def nested_arrays(depth: int) -> pb.Value:
    value = pb.Value()
    inner = value
    for _ in range(depth):
        inner = inner.array.values.add()
    inner.null.SetInParent()
    return value


def test_a_message_that_is_nested_too_deeply_is_refused() -> None:
    decode(nested_arrays(100))
    with pytest.raises(BassError, match="nested deeper"):
        decode(nested_arrays(5000))


def test_a_message_without_a_required_value_is_refused() -> None:
    with pytest.raises(BassError, match="value is missing"):
        decode(pb.Value())
    with pytest.raises(BassError, match="missing in this message"):
        decode_thunk(pb.Thunk(dir=pb.ThunkDir()))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "\0"])
def test_impossible_names_of_files_in_a_message_are_refused(name: str) -> None:
    file = pb.LogicalPath(file=pb.LogicalPath.File(name=name))
    with pytest.raises(BassError, match="impossible name"):
        decode(
            pb.Value(logical_path=pb.LogicalPath(dir=pb.LogicalPath.Dir(name="d", entries=[file])))
        )


def test_files_travel_with_their_content() -> None:
    path = FSPath(MemoryFiles({"d/a": b"1", "d/b/c": b"2"}), DirPath("d"))
    again = decode(encode(path))
    assert isinstance(again, FSPath)
    assert show(again) == "<fs>/d/"
    inner = again.extend(FilePath("b/c"))
    assert isinstance(inner, FSPath)
    assert inner.read_now() == b"2"


def test_a_thunk_is_proven_by_its_sha256() -> None:
    thunk = Thunk(args=("foo",), image=ImageRef("r", Platform("linux", "amd64"), "t"))
    assert len(thunk_sha256(encode_thunk(thunk))) == 64
    assert thunk_sha256(encode_thunk(thunk)) != thunk_sha256(encode_thunk(thunk.with_args(["x"])))
