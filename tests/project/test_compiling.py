"""Checks in TOML mean the thunks that Bass would make of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop import bass
from bassloop.project import ChecksFileError, read_checks, write_bass

if TYPE_CHECKING:
    from collections.abc import Mapping

PUSH: dict[str, Any] = {
    "event": "check_suite",
    "payload": {
        "action": "requested",
        "repository": {"clone_url": "https://git.example.com/a/b"},
        "check_suite": {"head_sha": "5" * 40, "head_branch": "main"},
    },
}


def pull(action: str = "opened", base: str = "main") -> dict[str, Any]:
    head = {"sha": "5" * 40, "repo": {"clone_url": "https://git.example.com/fork/b"}}
    return {
        "event": "pull_request",
        "payload": {"action": action, "pull_request": {"head": head, "base": {"ref": base}}},
    }


def rerun(name: str) -> dict[str, Any]:
    return {
        "event": "check_run",
        "payload": {
            "action": "rerequested",
            "repository": {"clone_url": "https://git.example.com/a/b"},
            "check_run": {"name": name, "head_sha": "5" * 40},
        },
    }


class Alone(bass.Host):
    """Nothing outside can be asked for; what is logged is dropped."""

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Drop it."""


async def started(toml: str, event: dict[str, Any]) -> list[tuple[str, bass.Thunk, Any]]:
    """Return the checks that a hook of these declarations starts: names, thunks and options."""
    found: list[tuple[str, bass.Thunk, Any]] = []

    async def start(
        thunk: bass.Value, name: bass.Value, sha: bass.Value, options: bass.Value
    ) -> bass.Value:
        assert isinstance(thunk, bass.Thunk)
        assert isinstance(name, str)
        assert sha == "5" * 40
        found.append((name, thunk, bass.to_python(options)))
        return bass.from_python(None)

    async with bass.open_session(Alone()) as session:
        module = await session.load(write_bass(read_checks(toml.encode())), "declared.bass", None)
        client = bass.scope(
            {
                "start-check-with": bass.builtin(
                    "start-check-with", "[thunk name sha options]", start
                )
            }
        )
        hook = bass.binding(module, "github-hook", "declared.bass")
        await session.call(hook, bass.from_python(event), client)
    return found


async def meaning(source: str) -> bass.Value:
    """Return the value of a form of Bass, with `src` as a checkout."""
    async with bass.open_session(Alone()) as session:
        image = '{:platform {:os "linux"} :repository "alpine/git"}'
        url, sha = "https://git.example.com/a/b", "5" * 40
        text = f'(use (.git {image}))\n(def src (git:checkout "{url}" "{sha}"))\n(def it {source})'
        return bass.binding(await session.load(text, "x.bass", None), "it", "x.bass")


@pytest.mark.parametrize(
    ("toml", "form"),
    [
        ('[checks]\na = "make"', '(cd src ($ sh -ec "make"))'),
        (
            '[checks.a]\nimage = "python:3.13-slim"\nrun = ["pip install -e .", ["pytest", "-q", "a b"]]',
            '(from {:platform {:os "linux"} :repository "python" :tag "3.13-slim"}'
            ' (cd src ($ sh -ec "pip install -e .") ($ pytest -q "a b")))',
        ),
        (
            '[checks.a]\nrun = "make"\nenv = { B = "1", A = "2" }\nsecrets = ["TOKEN"]',
            '(cd src (with-env ($ sh -ec "make") {:B "1" :A "2" :TOKEN (mask "" :TOKEN)}))',
        ),
        (
            '[checks.a]\nrun = "make"\ncaches = { pip = "/root/.cache/pip", mine = ".cache" }',
            '(cd src (-> ($ sh -ec "make") (with-mount (cache-dir "pip") /root/.cache/pip/)'
            ' (with-mount (cache-dir "mine") ./.cache/)))',
        ),
        (
            '[checks.a]\nrun = ["make", "make test"]\nreports = "out/*.xml"',
            '(cd src (with-label ($ sh -ec "make") :reports ["out/*.xml"])'
            ' (with-label ($ sh -ec "make test") :reports ["out/*.xml"]))',
        ),
        ('[checks.a]\nrun = "make"\nworkdir = "lib/a b"', '(cd (subpath src (string->fs-path "./lib/a b/"))'
            ' ($ sh -ec "make"))'),
        (
            '[checks.a]\nrun = "test"\n[checks.a.services.my-db]\nimage = "pg@sha256:00"\nrun = "pg"\nport = 1',
            '(let [db (with-port (with-label (from {:platform {:os "linux"} :repository "pg" :digest "sha256:00"}'
            ' ($ sh -c "pg")) :service "my-db")'
            ' :port 1)]'
            ' (cd src (with-env ($ sh -ec "test") {:MY_DB_HOST (addr db :port "$host")'
            ' :MY_DB_PORT (addr db :port "$port")})))',
        ),
    ],
)  # fmt: skip
async def test_a_declared_check_compiles_to_the_thunk_that_bass_would_make(
    toml: str, form: str
) -> None:
    ((name, thunk, _),) = await started(toml, PUSH)
    expected = await meaning(form)
    assert name == "a"
    assert isinstance(expected, bass.Thunk)
    assert bass.thunk_digest(thunk) == bass.thunk_digest(expected)


async def test_a_matrix_makes_a_check_for_each_combination() -> None:
    toml = """
[checks.test]
image = "python:${python}"
run = "pytest ${mode}"
matrix = { python = ["3.12", 3.13], mode = ["fast"] }
[checks.after]
run = "true"
needs = ["test"]
timeout = "2m"
"""
    found = await started(toml, PUSH)
    assert [(name, options) for name, _, options in found] == [
        ("test (3.12, fast)", {"after": [], "limit": None}),
        ("test (3.13, fast)", {"after": [], "limit": None}),
        ("after", {"after": ["test (3.12, fast)", "test (3.13, fast)"], "limit": 120}),
    ]
    assert found[0][1].cmdline() == 'sh -ec "pytest fast"'


WHEN = """
[checks.always]
run = "a"
[checks.pushed]
run = "b"
when = { events = ["push"] }
[checks.main]
run = "c"
when.branches = ["main", "v*"]
[checks.deep]
run = "d"
when.branches = ["release/**"]
"""


@pytest.mark.parametrize(
    ("event", "names"),
    [
        (PUSH, ["always", "pushed", "main"]),
        (pull(), ["always", "main"]),
        (pull("synchronize", "v1"), ["always", "main"]),
        (pull(base="v1/x"), ["always"]),
        (pull(base="release/a/b"), ["always", "deep"]),
        (rerun("deep"), ["deep"]),
        (rerun("nothing"), []),
        ({"event": "push", "payload": {}}, []),
    ],
)
async def test_events_and_branches_choose_the_checks(
    event: dict[str, Any], names: list[str]
) -> None:
    assert [name for name, _, _ in await started(WHEN, event)] == names


text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
)


def quoted(text: str) -> str:
    """A text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@settings(max_examples=40)
@given(text.filter(str.strip), text, text)
async def test_any_text_reaches_the_command_unchanged(run: str, value: str, branch: str) -> None:
    toml = f"[checks.a]\nrun = {quoted(run)}\nenv.X = {quoted(value)}\nwhen.branches = [{quoted(branch)}]"
    event = {
        **PUSH,
        "payload": {
            **PUSH["payload"],
            "check_suite": {"head_sha": "5" * 40, "head_branch": branch},
        },
    }
    ((_, thunk, _),) = await started(toml, event)
    json_form = bass.to_python(thunk)
    assert {"string": {"value": run}} in json_form["args"]
    assert json_form["env"] == [{"symbol": "X", "value": {"string": {"value": value}}}]


def test_using_a_check_needs_every_combination_of_its_matrix() -> None:
    checks = read_checks(
        b'[checks.build]\nrun = "make"\nartifacts = "dist/*"\nmatrix = { v = ["1", "2"] }\n'
        b'[checks.deploy]\nrun = "./deploy"\nuses = ["build"]\n'
    )
    source = write_bass(checks)
    assert ':after ["build (1)" "build (2)"]' in source
    assert '(with-label :uses ["build (1)" "build (2)"])' in source
    assert '(with-label :artifacts ["dist/*"])' in source
    with pytest.raises(ChecksFileError, match=r"checks\.it\.uses: there is no check 'build'"):
        read_checks(b'[checks.it]\nrun = "x"\nuses = ["build"]\n')
    with pytest.raises(ChecksFileError, match="need each other"):
        read_checks(b'[checks.it]\nrun = "x"\nuses = ["it"]\n')
