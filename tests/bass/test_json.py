"""JSON: what Go writes, and what it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.json import encode, from_python, message_json, to_python
from bassloop.bass.json_stream import END, MAX_DEPTH, NEED_MORE, JSONStream, read_json
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import Secret
from bassloop.bass.values import EMPTY, IGNORE, Cons, Pair, Scope, Symbol, Value, from_list
from bassloop.wire import bass_pb2 as pb

from .strategies import json_data


def values(text: str | bytes, piece: int = 1 << 20) -> list[Value]:
    """All values of a text that arrives in pieces."""
    data = text.encode() if isinstance(text, str) else text
    stream = JSONStream()
    found: list[Value] = []
    for at in range(0, len(data), piece):
        stream.feed(data[at : at + piece])
        while (value := stream.next()) is not NEED_MORE:
            found.append(value)
    stream.close()
    while (value := stream.next()) is not END:
        found.append(value)
    return found


# --- writing ---


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (-5, "-5"), ("", '""'), (EMPTY, "[]"), (IGNORE, "{}"), (Scope(), "{}"),
        ("a\n\t\"\\/\a\b\f\u2028", r'"a\n\t\"\\/\u0007\b\f\u2028"'), ("é😀\x7f", '"é😀\x7f"'), ("\udcff", '"\\ufffd"'),
        (Symbol("a"), '"a"'), (from_list([1, from_list(["a"])]), '[1,["a"]]'),
        (Scope({"a": 1, "b-c_d": Scope({"e": None})}), '{"a":1,"b-c_d":{"e":null}}'),
        (FilePath("a"), '{"file":"a"}'), (DirPath(""), '{"dir":""}'), (CommandPath("foo"), '{"command":"foo"}'),
        (DirPath("a", ("./x",), ("./y", "./z")), '{"dir":"a","include":["./x"],"exclude":["./y","./z"]}'),
        (CachePath("c", FilePath("f"), 2), '{"ID":"c","ConcurrencyMode":2,"Path":{"file":{"path":"f"}}}'),
        (HostPath("/h"), '{"context":"/h","path":{"dir":{"path":"."}}}'), (Secret("n", b"x"), '{"name":"n"}'),
    ],
)  # fmt: skip
def test_a_value_is_encoded_as_go_encodes_it(value: Value, text: str) -> None:
    assert encode(value) == text


def test_markup_is_escaped_in_lists_and_keys_only() -> None:
    assert encode("<&>") == '"<&>"'
    assert encode(from_list(["<", Scope({"a": "&"})])) == r'["\u003c",{"a":"\u0026"}]'
    assert encode(Scope({"<": ">"})) == r'{"\u003c":">"}'
    assert encode(Scope({"a": from_list([">"])})) == r'{"a":["\u003e"]}'


def test_a_scope_within_itself_has_no_json() -> None:
    scope = Scope({"a": 1})
    scope.vars["self"] = from_list([scope])
    with pytest.raises(BassError, match="within itself"):
        encode(scope)


def test_a_value_may_contain_a_scope_twice() -> None:
    scope = Scope({"a": 1})
    assert encode(from_list([scope, scope])) == '[{"a":1},{"a":1}]'


def test_the_size_of_written_json_is_limited() -> None:
    value: Value = "x" * 1000
    for _ in range(40):
        value = from_list([value, value])
    with pytest.raises(BassError, match="too much for JSON"):
        encode(value, limit=1 << 20)


@pytest.mark.parametrize("value", [Pair(1, 2), Cons(1, EMPTY), from_list([Pair(1, 2)])])
def test_values_without_json_are_refused(value: Value) -> None:
    with pytest.raises(BassError, match="cannot encode"):
        encode(value)


def test_a_list_nested_deeper_than_any_stack_is_encoded() -> None:
    value: Value = EMPTY
    for _ in range(50_000):
        value = from_list([value])
    assert encode(value) == "[" * 50_001 + "]" * 50_001


@given(json_data)
def test_encoded_values_are_json_and_decode_to_the_same(value: Value) -> None:
    text = encode(value)
    json.loads(text)
    assert equal(read_json(text), value)


# --- reading ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12", ["12"]), ("1.50", ['"1.50"']), ("1e2 -1.5e-3", ['"1e2"', '"-1.5e-3"']), ("-0", ["0"]),
        ("9223372036854775808", ['"9223372036854775808"']), ("-9223372036854775808", ["-9223372036854775808"]),
        ('{"a":1,"b":2,"a":3}', ["{:a 3 :b 2}"]), ('"a""b"{}[]', ['"a"', '"b"', "{}", "()"]),
        ("nulltrue", ["null", "true"]),
        (r'"\u0041\ud83d\ude00\/\b"', ['"A😀/\\b"']), (r'"\ud800x"', ['"\ufffdx"']), ('{"":{}}', ["{: {}}"]), ("", []),
        (' \n\t\r', []), ('{"file":"a"}', ['{:file "a"}']), ("01", ["0", "1"]),
    ],
)  # fmt: skip
def test_a_text_may_contain_several_values_in_a_row(text: str, shown: list[str]) -> None:
    assert [show(value) for value in values(text)] == shown
    assert [show(value) for value in values(text, piece=1)] == shown


@pytest.mark.parametrize(
    "text",
    ["{", "[1", "[1,", '{"a":1', '{"a"', '{"a":', '"abc', '"a\\', "[1,]", "[1 2]", "{a:1}", '{"a":1,}', "{1:1}", "nul",
     "+1", ".5", "1.", "-", "1 ]", "'a'", "// c", '"a\nb"', r'"\q"', r'"\u12"', "]", "}", ",", ":", "{,}", "[,]", "[1}",
     "NaN", "\ufeff1"],
)  # fmt: skip
def test_invalid_json_is_refused_with_its_location(text: str) -> None:
    for piece in (1, 1 << 20):
        with pytest.raises(BassError, match=r"^JSON, at byte \d+: "):
            values(text, piece)


def test_a_text_that_ends_within_a_value_is_incomplete() -> None:
    with pytest.raises(BassError, match="ends within a value"):
        values('{"a": [1, ')


def test_nesting_is_bounded() -> None:
    assert len(values("[" * MAX_DEPTH + "]" * MAX_DEPTH)) == 1
    with pytest.raises(BassError, match="deep"):
        values("[" * 1_000_000)


def test_a_whole_text_contains_exactly_one_value() -> None:
    with pytest.raises(BassError, match="no value"):
        read_json(" ")
    with pytest.raises(BassError, match="more than one"):
        read_json("1 2")


def test_no_json_is_decoded_to_a_path_or_a_secret() -> None:
    for value in (HostPath("/etc", FilePath("passwd")), FilePath("a"), CommandPath("a")):
        assert isinstance(read_json(encode(value)), Scope)


@given(json_data, st.integers(1, 7))
def test_json_may_arrive_in_pieces_of_any_size(value: Value, piece: int) -> None:
    text = encode(from_list([value])) + " 7 "
    assert [show(each) for each in values(text, piece)] == [show(from_list([value])), "7"]


@given(st.binary(max_size=40) | st.text('[]{}",:\\u0aeEtrufalsn-. \n', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        whole = [show(value) for value in values(data)]
    except BassError:
        with pytest.raises(BassError):
            values(data, piece=1)
    else:
        assert [show(value) for value in values(data, piece=1)] == whole


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_python_data_is_the_same_after_encoding_and_decoding(value: Any) -> None:
    assert to_python(from_python(value)) == _plain(value)


def test_python_values_without_an_equivalent_are_refused_or_become_text() -> None:
    assert from_python(1.5) == "1.5"
    assert from_python(2**64) == str(2**64)
    assert to_python(from_python((1, 2))) == [1, 2]
    assert to_python(FilePath("a")) == {"file": "a"}
    with pytest.raises(BassError, match="a value of the language"):
        from_python(object())
    with pytest.raises(BassError, match="cannot encode"):
        to_python(Pair(1, 2))


def test_a_message_is_written_as_protobuf_says() -> None:
    message = pb.Value(
        array=pb.Array(values=[pb.Value(int=pb.Int(value=5)), pb.Value(null=pb.Null())])
    )
    assert message_json(message) == '{"array":{"values":[{"int":{"value":"5"}},{"null":{}}]}}'
    cache = pb.CachePath(id="c", concurrency=pb.CONCURRENCY_MODE_LOCKED)
    assert message_json(cache) == '{"id":"c","concurrency":"CONCURRENCY_MODE_LOCKED"}'
    file = pb.LogicalPath.File(name="n", content=b"\xff")
    assert message_json(file) == '{"name":"n","content":"/w=="}'
