"""Descriptions of thunks, for the loop and its pages."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from bassloop import bass
from bassloop.bass.path import DirPath
from bassloop.bass.thunk import Mount
from bassloop.evaluator.thunk_description import describe
from bassloop.web.pages.thunk_page import thunk_tree
from tests.bass.strategies import thunks


def mounted(levels: int) -> bass.Thunk:
    thunk = bass.Thunk(args=("first",))
    for level in range(levels):
        mount = Mount(bass.ThunkPath(thunk, DirPath("out")), DirPath("in"))
        thunk = bass.Thunk(args=(f"{level}",), mounts=(mount,))
    return thunk


@given(thunks)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_a_thunk_of_usual_depth_is_described_with_the_thunks_within_it(thunk: bass.Thunk) -> None:
    content = json.loads(describe(bass.encoded_thunk(thunk)).content)
    assert "thunks" not in content


def test_a_deep_thunk_is_described_flat() -> None:
    thunk = mounted(1_000)
    described = describe(bass.encoded_thunk(thunk))
    assert described.command == "999"
    content = json.loads(described.content)
    assert len(content["thunks"]) == 1_000
    levels, digest = 0, None
    part = content
    while "mounts" in part:
        digest = part["mounts"][0]["source"]["thunk"]["thunk"]
        part = content["thunks"][digest]
        levels += 1
    assert levels == 1_000
    assert digest == bass.thunk_digest(mounted(0))


def test_the_page_of_a_deep_thunk_shows_as_many_levels_as_for_any_other() -> None:
    def commands(levels: int) -> list[str]:
        content = describe(bass.encoded_thunk(mounted(levels))).content.decode()
        found, parts = [], thunk_tree(content)
        while mounts := [part for part in parts if part.label == "mounts"]:
            [mount] = mounts[0].children
            found.append(mount.text)
            parts = mount.children
        return found

    deep, usual = commands(1_000), commands(20)
    assert deep[:3] == ["out of 998", "out of 997", "out of 996"]
    assert usual[:3] == ["out of 18", "out of 17", "out of 16"]
    assert len(deep) == len(usual)


def test_a_thunk_that_is_used_repeatedly_is_shown_once() -> None:
    thunk = bass.Thunk(args=("first " + "x" * 100,))
    for level in range(8):
        thunk = bass.Thunk(args=(f"{level}", thunk, thunk))
    content = describe(bass.encoded_thunk(thunk)).content.decode()
    assert content.count("x" * 100) == 1
    [command] = thunk_tree(content)
    _, first, second = command.children
    assert first.text == second.text
    assert first.children
    assert not second.children


@pytest.mark.parametrize("garbage", [b"\x0a", b"\x0a\x05", b"\xff" * 20, b"\x0a\x02\x12\x05"])
def test_bytes_that_are_not_a_thunk_are_refused(garbage: bytes) -> None:
    with pytest.raises(bass.BassError, match="this isn't a thunk"):
        describe(garbage)
