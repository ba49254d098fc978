"""Strings are bytes: where they are cut and joined, and what of them people get to see."""

from __future__ import annotations

import pytest

from bassloop import bass
from bassloop.bass.embedding import immediate_session, run_now
from bassloop.bass.errors import Unbound
from bassloop.bass.reference import module_names
from bassloop.bass.values import Scope


class Host(bass.Host):
    def __init__(self) -> None:
        self.logged: list[tuple[str, dict[str, object]]] = []

    def log(self, message: str, fields: object) -> None:
        self.logged.append((message, dict(fields)))  # type: ignore[call-overload]


def value(program: str, host: Host | None = None) -> bass.Value:
    async def load() -> bass.Value:
        session = immediate_session(host or Host())
        module = await session.load(f"(def it {program})", "test.bass", None)
        return bass.binding(module, "it", "test.bass")

    return run_now(load())


def error(program: str) -> str:
    with pytest.raises(bass.BassError) as caught:
        value(program)
    return bass.render(caught.value)


HALVES = '(substring "é" 0 1) (substring "é" 1 2)'


@pytest.mark.parametrize(
    "program",
    [
        f"(str {HALVES})",
        f'(str "" {HALVES} "")',
        f'(do (use (.strings)) (strings:join "" [{HALVES}]))',
    ],
)
def test_two_halves_of_a_character_can_be_joined(program: str) -> None:
    assert value(program) == "é"
    assert value(f'(= "é" {program})') is True


def test_half_a_character_is_logged_as_a_replacement_character() -> None:
    host = Host()
    value('(log (substring "é" 0 1) :field (substring "é" 1 2))', host)
    assert host.logged == [("\ufffd", {"field": "\ufffd"})]


def test_half_a_character_prints_as_its_byte_and_cannot_be_part_of_a_thunk() -> None:
    assert bass.show(value('(substring "é" 0 1)')) == r'"\xc3"'
    thunk = value('($ echo (substring "é" 0 1))')
    assert isinstance(thunk, bass.Thunk)
    with pytest.raises(bass.BassError, match="cannot encode: a string has bytes that aren't UTF-8"):
        bass.encoded_thunk(thunk)


@pytest.mark.parametrize("pattern", [r"\\C", r"a\\C*", r"\\\\\\C"])
def test_a_pattern_that_matches_single_bytes_is_refused(pattern: str) -> None:
    said = error(f'(do (use (.regexp)) (regexp:case "é" "{pattern}" 1))')
    assert "isn't a regular expression: invalid escape sequence: " in said


@pytest.mark.parametrize("pattern", [r"\\\\C", r"\\Q\\C\\E"])
def test_a_backslash_before_a_c_may_be_intended(pattern: str) -> None:
    assert value(f'(do (use (.regexp)) (regexp:case "\\\\C" "{pattern}" 1))') == 1


def test_mistakes_in_a_pattern_are_explained() -> None:
    said = error('(do (use (.regexp)) (regexp:case "a" "(" 1))')
    assert '"(" isn\'t a regular expression: missing ): (' in said


def test_the_error_for_a_scope_with_a_missing_value_has_a_location() -> None:
    async def load() -> None:
        await immediate_session(Host()).load("{:a 1 :b}", "test.bass", None)

    with pytest.raises(bass.BassError) as caught:
        run_now(load())
    assert "test.bass:1:1" in bass.render(caught.value)


@pytest.mark.parametrize("module", module_names())
def test_the_error_for_a_module_that_is_not_used_says_how_to_use_it(module: str) -> None:
    scope = Scope({})
    assert f"(use (.{module}))" in "".join(Unbound(module, scope).notes())


def test_only_similar_names_are_suggested() -> None:
    assert "did you mean length?" in error("(lenght [1])")
    assert "did you mean" not in error("(foo)")
