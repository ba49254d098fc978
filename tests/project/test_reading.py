"""Checks in TOML: what is accepted, and where an error points."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.access.policy import read_rules
from bassloop.project import ChecksFileError, compile_checks, json_schema, read_checks, write_bass
from bassloop.project.reading import MAX_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.project import CheckDeclaration

WHOLE = b"""
supersede = true            # policy, read elsewhere

[checks]
soak = 7200                 # policy too: a limit for a check of that name
lint = "ruff check ."

[checks.test]
image = "python:${python}-slim"
run = ["pip install -e .", ["pytest", "-q", "a b"]]
env = { CI = "1" }
matrix = { python = ["3.12", 3.13] }
caches = { pip = "/root/.cache/pip" }
secrets = ["TOKEN"]
when = { events = ["push"], branches = ["main", "release/*"] }
timeout = "1h 30m"
workdir = "lib"

[checks.e2e]
run = "npm test"
needs = ["test"]

[checks.e2e.services.db]
image = "postgres:16"
run = "docker-entrypoint.sh postgres"
port = 5432
"""


def test_everything_can_be_declared() -> None:
    checks = read_checks(WHOLE)
    assert list(checks) == ["lint", "test", "e2e"]
    assert checks["lint"].commands == ["ruff check ."]
    assert checks["test"].commands == ["pip install -e .", ["pytest", "-q", "a b"]]
    assert checks["test"].timeout == 5400
    assert checks["test"].when.branches == ["main", "release/*"]
    assert checks["e2e"].services["db"].port == 5432


def test_a_file_without_checks_declares_none() -> None:
    assert read_checks(b'hold = "nobody"\n[checks]\nsoak = 60\n') == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[checks.a]\nrun = "x"\nimag = "y"', ".bassloop.toml:3: checks.a.imag: there is no such key"),
        ("[checks.a]\nimage = 'x'", '.bassloop.toml:1: checks.a.run: a check needs run, as in run = "pytest"'),
        ("[checks.a]\nrun = 3", ".bassloop.toml:2: checks.a.run: "),
        ("[checks.a]\nrun = ''\ntimeout = 'soon'", ":3: checks.a.timeout: 'soon' is not a duration, such as 30s"),
        ("[checks.a]\nrun = 'x'\ntimeout = '0s'", ":3: checks.a.timeout: 0s must be greater than 0"),
        ("[checks.a]\nrun = 'x'\nimage = 'a b'", ":3: checks.a.image: 'a b' is not an image"),
        ("[checks.a]\nrun = 'x'\nneeds = ['b']", ":3: checks.a.needs: there is no check 'b'; there are a"),
        (
            "[checks.a]\nrun = 'x'\nneeds = ['b']\n[checks.b]\nrun = 'x'\nneeds = ['a']",
            ":3: checks.a.needs: these checks need each other: a → b → a",
        ),
        ("[checks.a]\nrun = 'x'\nneeds = ['a']", ":3: checks.a.needs: these checks need each other: a → a"),
        ("[checks.a]\nrun = 'x'\nenv = { '1' = 'x' }", ":3: checks.a.env.1: '1' is not an environment variable's name"),
        ("[checks.a.services.db]\nimage = 'x'\nrun = 'y'\nport = 70000", ":4: checks.a.services.db.port: "),
        ("[checks.'a/b']\nrun = 'x'", "checks.a/b: 'a/b' is not a name"),
        ("[checks.a]\nrun = 'x'\nwhen = { event = [] }", ":3: checks.a.when.event: there is no such key"),
        ("[checks.a]\nrun = 'x'\nwhen.events = ['tag']", ":3: checks.a.when.events.0: 'tag' must be 'push'"),
        ("[checks.a\nrun = 'x'", ".bassloop.toml:1:10: this is not TOML"),
        (
            "[checks.a]\nrun = 'x'\nmatrix = {a=" + str([*range(17)]) + ", b=" + str([*range(17)]) + "}",
            "more than 256 checks",
        ),
        (
            "[checks.a]\nrun = 'x'\nmatrix = {" + ", ".join(f"{name}={[*range(50)]}" for name in "abcde") + "}",
            "more than 256 checks",
        ),
        ("\n " + ".".join("a" * 41) + " = 1", ":2:2: this is not TOML: A key has more than 40 parts"),
        (
            "[checks.a]\nrun = ['" + "x" * 9_000 + "']\nmatrix = {a=" + str([*range(50)]) + ", b=[1, 2, 3]}",
            "more than 1 MiB of text",
        ),
        (
            "[checks.a]\nrun = '" + "${a}" * 2_000 + "'\nmatrix = {a=['" + "x" * 151 + "']}",
            "it must have 150 characters at most",
        ),
        ("a = " + "9" * 5_000, "this is not TOML: A number has too many digits"),
        ("a = " + "[" * 5_000 + "]" * 5_000, "this is not TOML: Values are nested too deeply"),
        ("checks = []", ".bassloop.toml:1: checks: "),
    ],
)  # fmt: skip
def test_an_error_names_the_line_and_the_fix(text: str, problem: str) -> None:
    with pytest.raises(ChecksFileError) as raised:
        read_checks(text.encode())
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("text", "line", "key", "meant"),
    [
        ("[checks.a]\nrnu = 'make'", 2, "rnu", "run"),
        ("[checks.a]\nimagee = 'x'\nrun = 'x'", 2, "imagee", "image"),
        ("[checks.a]\nrun = 'x'\nwhen = { branch = 'main' }", 3, "when.branch", "branches"),
        ("[checks.a]\nrun = 'x'\nservices.db = {image='x', prot=1, run='y'}", 3, "services.db.prot", "port"),
    ],
)  # fmt: skip
def test_a_misspelled_key_is_reported_once_with_the_key_that_was_meant(
    text: str, line: int, key: str, meant: str
) -> None:
    with pytest.raises(ChecksFileError) as raised:
        read_checks(text.encode())
    [problem] = str(raised.value).splitlines()
    assert problem.startswith(
        f".bassloop.toml:{line}: checks.a.{key}: there is no such key (did you mean {meant}?)"
    )


@pytest.mark.parametrize(
    "value",
    [
        '[\n    "a",  # [\n    ["python3", "-m", "pytest"],\n]',
        '[["a", "]"],\n["b"]]',
        '"""\n[checks.b]\ntimeout = 1\n\\"""x""""',
        "'''\n[checks.b]\n\\'''",
        '"a" # [ """',
    ],
)
def test_a_key_after_a_value_of_several_lines_is_named_with_its_line(value: str) -> None:
    text = f"[checks.a]\nrun = {value}\n\ntimeout = 'soon'\n"
    line = text[: text.index("timeout = 's")].count("\n") + 1
    with pytest.raises(ChecksFileError) as raised:
        read_checks(text.encode())
    assert str(raised.value).startswith(f".bassloop.toml:{line}: checks.a.timeout: 'soon' is not")


def test_bytes_that_are_not_text_are_refused_with_their_line() -> None:
    with pytest.raises(ChecksFileError, match=r"\.bassloop\.toml:2: this is not UTF-8 text"):
        read_checks(b"a = 1\nb = '\xff'")


def test_a_long_file_is_refused() -> None:
    with pytest.raises(ChecksFileError, match="longer than 64 KiB"):
        read_checks(b"#" * (1 << 20))


def test_texts_with_many_dots_do_not_count_as_keys_with_many_parts() -> None:
    reversed_address = ".".join("b1bad0e0000000000000000008b1020") + ".ip6.arpa"
    [check] = read_checks(f"[checks.a]\nrun = 'host {reversed_address}'".encode()).values()
    assert check.commands == [f"host {reversed_address}"]


def test_a_long_quoted_key_is_read_in_linear_time() -> None:
    """It took a minute when the pattern of headers tried each space as the key's end."""
    with pytest.raises(ChecksFileError, match=r"\.bassloop\.toml:3: checks\.a\. +"):
        read_checks(f'[checks.a]\nrun = "x"\n[checks.a."{" " * 60_000}x"]'.encode())


def test_only_the_first_of_very_many_problems_are_explained() -> None:
    keys = "\n".join(f"k{number} = 1" for number in range(5_000))
    with pytest.raises(ChecksFileError) as raised:
        read_checks(f"[checks.a]\nrun = 'x'\n{keys}".encode())
    assert len(str(raised.value).splitlines()) == MAX_PROBLEMS


def test_checks_are_compiled_once_to_what_eject_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, calls = write_bass(read_checks(WHOLE)), []

    def write(checks: Mapping[str, CheckDeclaration]) -> str:
        calls.append(checks)
        return write_bass(checks)

    monkeypatch.setattr("bassloop.project.reading.write_bass", write)
    assert compile_checks(WHOLE) == expected
    assert len(calls) == 1
    assert compile_checks(b'hold = "nobody"\n[checks]\nsoak = 60\n') is None


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ChecksFileError) as raised:
        read_checks(b"[checks.a]\nrn = 'x'\ntimeout = 'soon'\n[checks.b]\nrun = 'x'\nimage = 1")
    assert str(raised.value).count("\n") >= 2


@given(st.binary(max_size=200))
def test_no_bytes_raise_another_error(content: bytes) -> None:
    for text in (content, b"[checks.a]\nrun = 'x'\n" + content):
        try:
            read_checks(text)
        except ChecksFileError as error:
            assert str(error)  # noqa: PT017


def test_the_schema_for_editors_accepts_what_the_loop_accepts() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    declared = tomllib.loads(WHOLE.decode())
    declared["checks"]["test"]["timeout"] = 5400
    del declared["checks"]["soak"]
    declared["checks"]["lint"] = {"run": "ruff check ."}
    jsonschema.validate(declared, schema)
    declared["checks"]["test"]["imag"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(declared, schema)


def test_a_byte_order_mark_is_not_a_mistake() -> None:
    content = b'\xef\xbb\xbf[checks.a]\r\nrun = "ls"\r\n'
    assert read_checks(content)["a"].commands == ["ls"]
    assert read_rules(content).checks == {}
