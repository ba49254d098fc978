"""Resolving a thunk to a process: words, variables, standard input, mounts."""

from __future__ import annotations

import pytest

from bassloop.bass import thunk_sha256
from bassloop.runner.call_context import LOCAL, CallContext
from bassloop.runner.engine.command import base_of, command_line, dependencies_of, resolve
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

from .made import IMAGE, after, cache, file, folder, given, in_memory, mount, path_in, sh, string

OTHER = sh("echo other > file")


def values(*members: pb.Value) -> pb.Value:
    return pb.Value(array=pb.Array(values=members))


def test_words_are_text_paths_and_lists_put_together() -> None:
    thunk = pb.Thunk(
        args=[
            pb.Value(command_path=pb.CommandPath(name="cat")),
            pb.Value(file_path=pb.FilePath(path="run")),
            pb.Value(dir_path=pb.DirPath(path="some/dir")),
            pb.Value(dir_path=pb.DirPath(path=".")),
            pb.Value(file_path=pb.FilePath(path="/bin/x")),
            values(string("--dir="), pb.Value(dir_path=pb.DirPath(path="./out"))),
            pb.Value(int=pb.Int(value=42)),
        ]
    )
    words = ("cat", "./run", "./some/dir/", "./", "/bin/x", "--dir=./out/", "42")
    assert resolve(thunk).words == words


def test_a_path_of_another_thunk_is_mounted_once_at_its_own_path() -> None:
    command = resolve(
        sh(
            "true",
            given(OTHER, file("file")),
            given(OTHER, file("file")),
            given(OTHER, folder(".")),
        )
    )
    assert command.words[3:] == ("./.bass/1/file", "./.bass/1/file", "./.bass/2/")
    assert [each.target for each in command.mounts] == [".bass/1/file", ".bass/2"]
    assert all(each.source.thunk.thunk == OTHER.SerializeToString() for each in command.mounts)


def test_paths_are_relative_to_the_directory_that_the_command_starts_in() -> None:
    words = [given(OTHER, file("file"))]
    deep = sh("true", *words, dir=pb.ThunkDir(local=pb.DirPath(path="some/dir")))
    assert resolve(deep).words[3] == "../../.bass/1/file"
    other = sh("true", *words, dir=pb.ThunkDir(thunk=path_in(OTHER, folder("sub"))))
    command = resolve(other)
    assert (command.dir, command.words[3]) == (".bass/1/sub", "../../2/file")


def test_variables_may_be_paths_and_null_removes_one() -> None:
    thunk = sh(
        "true",
        env=[
            pb.Binding(symbol="A", value=given(OTHER, file("file"))),
            pb.Binding(symbol="B", value=pb.Value(null=pb.Null())),
            pb.Binding(symbol="C", value=string("")),
        ],
    )
    assert resolve(thunk).env == {"A": "./.bass/1/file", "C": ""}


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_a_variable_with_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(DriverError, match="environment variable"):
        resolve(sh("true", env=[pb.Binding(symbol=name, value=string("x"))]))


def test_standard_input_is_a_stream_of_json_with_paths_as_text() -> None:
    thing = pb.Object(
        bindings=[
            pb.Binding(symbol="context", value=given(OTHER, file("file"))),
            pb.Binding(symbol="out", value=pb.Value(dir_path=pb.DirPath(path="data"))),
        ]
    )
    stdin = [pb.Value(object=thing), pb.Value(int=pb.Int(value=42)), values(string("ü"))]
    command = resolve(sh("cat", stdin=stdin))
    assert command.stdin.decode() == '{"context":"./.bass/1/file","out":"./data/"}\n42\n["ü"]\n'


def test_outer_mounts_come_before_inner_ones() -> None:
    tree = in_memory("src", {"a": b"1"})
    command = resolve(
        sh(
            "true",
            mounts=[mount(tree, file("a/b")), mount(tree, folder("a")), mount(tree, folder("."))],
        )
    )
    assert [each.target for each in command.mounts] == [".", "a", "a/b"]


@pytest.mark.parametrize(
    ("thunk", "message"),
    [
        (sh("x", pb.Value(secret=pb.Secret(name="token"))), "secret token has no value"),
        (
            sh(
                "x", pb.Value(thunk_addr=pb.ThunkAddr(thunk=OTHER.SerializeToString(), port="http"))
            ),
            "service",
        ),
        (sh("x", pb.Value(object=pb.Object())), "neither text nor a path"),
        (sh("x", given(OTHER, file("../x"))), "outside of the work directory"),
        (sh("x", given(OTHER, file("/etc/passwd"))), "outside of the work directory"),
        (sh("x", string("a\0b")), "zero byte"),
        (sh("x", string("a" * 200_000)), "too long"),
        (sh("x", use_entrypoint=True), "entrypoint of its image"),
        (
            sh("x", given(OTHER, file("a")), dir=pb.ThunkDir(local=pb.DirPath(path="/bin"))),
            "starts in /bin",
        ),
    ],
)
def test_impossible_thunks_are_refused_with_the_reason(thunk: pb.Thunk, message: str) -> None:
    with pytest.raises(DriverError, match=message):
        resolve(thunk)


def test_a_thunk_without_words_runs_its_chains_command_when_it_is_run_itself() -> None:
    configured = pb.Thunk(image=after(sh("true")), entrypoint=["sh", "-c"], default_args=["exit 3"])
    assert resolve(configured).words == ("sh", "-c", "exit 3")
    assert resolve(configured, forced=False).words == ()
    child = pb.Thunk(image=after(configured), args=[string("exit 4")], use_entrypoint=True)
    assert resolve(child).words == ("sh", "-c", "exit 4")
    cleared = pb.Thunk(image=after(configured), clear_entrypoint=True, default_args=["pwd"])
    assert resolve(cleared).words == ("pwd",)


def test_the_base_is_the_nearest_thunk_that_runs_something() -> None:
    image = pb.Thunk(image=IMAGE)
    first = sh("true", image=after(image))
    scene = pb.Thunk(image=after(first), default_args=["x"])
    last = sh("false", given(OTHER, file("file")), image=after(scene))
    assert base_of(first) is None
    assert list(dependencies_of(resolve(last), last)) == [first, OTHER]


def test_equal_thunks_have_the_same_key_within_a_scope_only() -> None:
    scopes = [LOCAL, CallContext("a/b"), CallContext("a/b", fork=True), CallContext("a/c")]
    keys = {scope.namespaced(thunk_sha256(sh("true"))) for scope in scopes}
    assert len(keys) == len(scopes)
    assert (
        LOCAL.namespaced(thunk_sha256(sh("true")))
        == LOCAL.namespaced(thunk_sha256(sh("true")))
        != LOCAL.namespaced(thunk_sha256(sh("false")))
    )


@pytest.mark.parametrize(
    ("metadata", "scope"),
    [
        ({}, LOCAL),
        ({"bassloop-repository": "A/b", "bassloop-fork": "false"}, CallContext("a/b", fork=False)),
        ({"bassloop-repository": "a/b", "bassloop-fork": "true"}, CallContext("a/b", fork=True)),
        ({"bassloop-repository": "a/b"}, CallContext("a/b", fork=True)),
    ],
)
def test_a_call_without_a_fork_mark_is_treated_like_a_forks(
    metadata: dict[str, str], scope: CallContext
) -> None:
    assert CallContext.from_metadata(metadata) == scope


def test_a_command_is_named_as_a_person_would_type_it() -> None:
    named = sh("echo $X", given(OTHER, file("f")), pb.Value(cache_path=cache("c", path=file("e"))))
    assert command_line(named) == "sh -c 'echo $X' f e"
    assert command_line(sh("x", pb.Value(secret=pb.Secret(name="t")))) == "sh -c x <secret: t>"
    assert command_line(pb.Thunk(image=IMAGE)) == "image alpine"
