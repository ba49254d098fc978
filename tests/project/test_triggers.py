"""What an event starts is what the compiled checks start when they are evaluated."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.project import read_checks, started_checks, write_bass
from bassloop.tools.expected_checks import find_expected_checks
from bassloop.tools.sample_events import SAMPLE_EVENTS

NOWHERE = Path("/nonexistent")

branches = st.sampled_from(["main", "ma*", "release/*", "release/**", "m.in", "**", "*", "[m]ain"])
branch = st.sampled_from(["main", "release/1", "release/1/x", "maintenance"])
when = st.fixed_dictionaries(
    {},
    optional={
        "events": st.lists(st.sampled_from(["push", "pull_request", "merge_group"]), max_size=2),
        "branches": st.lists(branches, max_size=2),
    },
)
check = st.fixed_dictionaries(
    {"run": st.just("make"), "when": when},
    optional={
        "matrix": st.just({"v": ["1", "2"]}),
        "image": st.sampled_from(["alpine", "h.example:5000/a/b_c:1.2-x", "a@sha256:00"]),
        "workdir": st.sampled_from(["a b", "./x/", ".", "\u00e9"]),
        "caches": st.just({"c": "/root/.cache/x y"}),
        "artifacts": st.just(["dist/*"]),
    },
)


def toml(checks: dict[str, dict[str, object]]) -> bytes:
    """Return the checks as a file; JSON's texts and lists are TOML's, too."""
    lines = []
    for name, each in checks.items():
        for key, value in each.items():
            if isinstance(value, dict):
                lines += [f"checks.{name}.{key}.{k} = {json.dumps(v)}" for k, v in value.items()]
            else:
                lines.append(f"checks.{name}.{key} = {json.dumps(value)}")
    return "\n".join(lines).encode()


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), check, min_size=1), branch)
async def test_an_event_starts_what_the_evaluated_hook_starts(
    checks: dict[str, dict[str, object]], pushed: str
) -> None:
    declared = read_checks(toml(checks))
    hook = write_bass(declared)
    for sample in SAMPLE_EVENTS:
        event = sample.pushed_to(pushed)
        expected = await find_expected_checks(NOWHERE, event, declared=hook)
        assert expected.error is None
        assert event.branch == (pushed if event.trigger == "push" else "main")
        assert started_checks(declared, event.trigger, event.branch) == expected.names
