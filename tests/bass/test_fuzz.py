"""Minutes of broken and hostile texts: reading and evaluating ends in a value, or in an error of the language."""

from __future__ import annotations

import os
import random
import time

import pytest

from bassloop import bass
from bassloop.bass.embedding import immediate_session, run_now

from .conformance.corpus import corpus

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
PIECES = (
    "(", ")", "[", "]", "{", "}", "&", "^", ":", "/", "./", "../", "!", ";", "\n", '"', "\\", "#!", "0x", "-", "_",
    "\x00", "\ufeff", "\u2028", "é", "𝄞", "99999999999999999999", "(fn [x] x)", "(def", "(quote ", "$", "*dir*",
)  # fmt: skip
BUDGET = bass.Budget(steps=100_000, output=10_000)


class Nothing(bass.Host):
    """A host that can do nothing."""


def altered(program: str, chance: random.Random, programs: list[str]) -> str:
    """A program with some of its text cut out, doubled, replaced, or taken from another."""
    text = program
    for _ in range(chance.randint(1, 6)):
        at, to = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        other = chance.choice(programs)
        put = chance.choice((
            "", text[at:to] * 2, chance.choice(PIECES), other, other[: chance.randint(0, len(other))],
            chance.choice(PIECES) * chance.randint(1, 50),
        ))  # fmt: skip
        text = text[:at] + put + text[chance.choice((at, to)) :]
    return text[:5000]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_every_evaluation_ends(seed: int) -> None:
    chance = random.Random(seed)
    programs = list(corpus())
    until = time.monotonic() + SECONDS
    tried = succeeded = 0
    while time.monotonic() < until:
        text = altered(chance.choice(programs), chance, programs)
        session = immediate_session(Nothing(), BUDGET)
        begun = time.monotonic()
        try:
            bass.show(run_now(session.evaluate(text, "text", bass.DirPath("."))))
        except bass.BassError as error:
            bass.render(error)
        except BaseException as error:
            raise AssertionError(f"not an error of the language, by {text!r}") from error
        else:
            succeeded += 1
        assert time.monotonic() - begun < 60, text
        tried += 1
    assert tried > SECONDS * 10
    assert succeeded > tried / 100
