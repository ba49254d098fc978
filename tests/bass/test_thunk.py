"""Thunks: immutable, named, rebased."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given

from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import DirPath
from bassloop.bass.printer import show
from bassloop.bass.thunk import SCRATCH, ImageRef, Platform, Secret, Thunk, ThunkPath
from bassloop.bass.values import Scope, Symbol
from bassloop.bass.wire.digest import thunk_digest

from .strategies import thunks

LINUX = Platform("linux", "amd64")
GOLANG = ImageRef("golang", LINUX, "1.22")


def echo(*words: str) -> Thunk:
    return Thunk(args=words)


def test_a_thunk_prints_its_name_and_its_command() -> None:
    assert show(SCRATCH) == "{{thunk 5K38019OQEAC4: }}"
    assert show(Thunk(args=("foo",))) == "{{thunk PJ8R19R3IKFGQ: foo}}"
    assert echo("sh", "-c", "echo hi", "").cmdline() == 'sh -c "echo hi" '


def test_a_thunk_that_contains_something_other_than_data_prints_but_has_no_digest() -> None:
    thunk = Thunk(args=("foo", Symbol("a")))
    assert show(thunk) == "{{thunk (error: cannot encode symbol: a): foo a}}"
    with pytest.raises(BassError, match="cannot encode symbol: a"):
        thunk_digest(thunk)


def test_changing_a_thunk_makes_a_new_one_and_leaves_the_old_one_unchanged() -> None:
    thunk = echo("go", "build")
    before = thunk_digest(thunk)
    changed = [
        thunk.with_args(["test"]),
        thunk.with_env(Scope({"A": "1"})),
        thunk.with_port("http", 80),
        thunk.with_label("l", 1),
        thunk.with_mount(FSPath(MemoryFiles({})), DirPath("m")),
        thunk.with_image(GOLANG),
        thunk.with_entrypoint(("x",)),
        thunk.with_default_args(()),
        thunk.replace(insecure=True),
    ]
    assert thunk_digest(thunk) == before
    assert len({thunk_digest(each) for each in changed} | {before}) == len(changed) + 1


def test_two_ports_of_one_thunk_stay_separate() -> None:
    thunk = echo("x").with_port("a", 1)
    first, second = thunk.with_port("b", 2), thunk.with_port("c", 3)
    assert first.ports == (("a", 1), ("b", 2))
    assert second.ports == (("a", 1), ("c", 3))


def test_new_variables_come_first_and_replace_those_of_the_same_name() -> None:
    thunk = echo("x").with_env(Scope({"A": "1", "B": "2"})).with_env(Scope({"C": "3", "A": "4"}))
    assert thunk.env == (("C", "3"), ("A", "4"), ("B", "2"))


def test_the_same_variables_in_another_order_make_another_thunk() -> None:
    ordered = echo("x").with_env(Scope({"A": "1", "B": "2"}))
    assert thunk_digest(ordered) != thunk_digest(echo("x").with_env(Scope({"B": "2", "A": "1"})))


def test_a_label_is_replaced_in_place() -> None:
    assert echo("x").with_label("a", 1).with_label("b", 2).with_label("a", 3).labels == (
        ("a", 3),
        ("b", 2),
    )


def test_an_image_is_put_under_the_deepest_thunk_of_a_chain() -> None:
    chain = echo("c").with_image(echo("b").with_image(echo("a")))
    rebased = chain.with_image(GOLANG)
    assert rebased.platform() == LINUX
    assert isinstance(rebased.image, Thunk)
    assert isinstance(rebased.image.image, Thunk)
    assert rebased.image.image.image == GOLANG


def test_a_chain_of_thousands_of_thunks_is_named_and_compared() -> None:
    def chain(length: int) -> Thunk:
        thunk = echo("base")
        for _ in range(length):
            thunk = echo("step").replace(image=thunk)
        return thunk

    assert thunk_digest(chain(3000)) == thunk_digest(chain(3000))
    assert equal(chain(3000), chain(3000))
    assert not equal(chain(3000), chain(2999))
    assert chain(3000).with_image(GOLANG).platform() == LINUX


def test_a_thunk_that_contains_another_exponentially_often_is_refused() -> None:
    thunk = echo("x")
    for _ in range(64):
        thunk = Thunk(args=("y", thunk, thunk))
    with pytest.raises(BassError, match="too much to encode"):
        thunk_digest(thunk)


def test_an_entrypoint_makes_an_image_of_a_thunk_that_has_arguments() -> None:
    thunk = (
        echo("x")
        .with_port("p", 1)
        .with_label("l", 2)
        .with_env(Scope({"A": "1"}))
        .with_entrypoint(("e",))
    )
    assert thunk.args == ()
    assert isinstance(thunk.image, Thunk)
    assert (thunk.ports, thunk.labels, thunk.env) == ((("p", 1),), (("l", 2),), ())
    assert thunk.with_entrypoint(()).clear_entrypoint
    assert thunk.with_entrypoint(()).image is thunk.image


def test_an_address_is_that_of_a_port_it_has() -> None:
    thunk = echo("serve").with_port("http", 80)
    assert show(thunk.address("http")) == f"{show(thunk)}:http"
    with pytest.raises(BassError, match=r"has no port ftp.*with-port"):
        thunk.address("ftp")


def test_thunks_are_the_same_if_their_messages_are() -> None:
    memory = [FSPath(MemoryFiles({"f": b"x"})) for _ in range(2)]
    assert equal(*[Thunk(args=("a", path)) for path in memory])
    secrets = [Secret("name", value) for value in (b"1", b"2")]
    assert equal(*[Thunk(args=("a", secret)) for secret in secrets])
    assert not equal(echo("a"), echo("b"))


def test_a_path_in_a_thunk_is_printed_after_the_thunk() -> None:
    assert (
        show(ThunkPath(echo("foo"), DirPath("out", ("./x",))))
        == "{{thunk PJ8R19R3IKFGQ: foo}}/out/?[./x]"
    )


def test_a_secret_shows_nothing_but_its_name() -> None:
    secret = Secret("token", b"hunter2")
    assert show(secret) == "<secret: token>"
    assert repr(secret) == "<secret>"
    assert "hunter2" not in show(Thunk(args=("x", secret), env=(("A", secret),)))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    assert secret.reveal() == b"hunter2"
    assert equal(secret, Secret("other", b"hunter2"))
    assert not equal(secret, Secret("token", b"hunter3"))


@given(thunks)
def test_every_thunk_prints(thunk: Thunk) -> None:
    assert show(thunk).startswith("{{thunk ")
