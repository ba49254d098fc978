"""Every program of the corpus means here what it means to the reference, or a reason says why not.

`conformance/ask.py` asks the reference again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conformance.answer import answer
from .conformance.corpus import HERE, answers, corpus

ANSWERS = answers()
DEVIATIONS = {
    each["program"]: each for each in json.loads((HERE / "deviations.json").read_text("utf-8"))
}
TOPICS = sorted({each["name"].split(":")[0] for each in ANSWERS})
COMPARED = ("ok", "value", "json", "digest", "proto")


def expected(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a stored answer that are compared, or our own answer where we deviate."""
    given = DEVIATIONS.get(stored["program"], stored)
    return {key: given[key] for key in COMPARED if key in given}


@pytest.mark.parametrize("topic", TOPICS)
def test_programs_have_the_same_result_as_in_the_reference(topic: str) -> None:
    wrong = []
    for stored in ANSWERS:
        if stored["name"].split(":")[0] != topic:
            continue
        want = expected(stored)
        have = answer(stored["program"])
        if want.get("value") == "":
            continue  # no form at all
        if stored["program"] in DEVIATIONS:
            have = {key: value for key, value in have.items() if key in ("ok", "value", "json")}
        if have != want:
            wrong.append(
                f"{stored['name']}: {stored['program']}\n  reference: {want}\n  here:      {have}"
            )
    assert not wrong, "\n".join([f"{len(wrong)} differ", *wrong])


def test_the_corpus_is_large_and_has_a_result_for_each_program() -> None:
    assert len(ANSWERS) >= 3000
    assert {each["program"] for each in ANSWERS} == set(corpus())
    assert sum("digest" in each for each in ANSWERS) >= 500


def test_every_listed_deviation_has_a_reason_and_does_deviate() -> None:
    stored = {each["program"]: each for each in ANSWERS}
    for program, deviation in DEVIATIONS.items():
        assert deviation["reason"]
        answered = {
            key: stored[program][key] for key in ("ok", "value", "json") if key in stored[program]
        }
        ours = {key: deviation[key] for key in ("ok", "value", "json") if key in deviation}
        assert answered != ours or stored[program].get("crash"), program
