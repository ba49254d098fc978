"""No secret leaves a runner, in any form and however it is split."""

from __future__ import annotations

import base64
import itertools
import json
import random
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.runner.secrets.masking import HIDDEN, SHORTEST, Mask, base64_forms, plain_forms

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nq7+/w==\n-----END KEY-----\n"
SECRETS = ["hunter2", "pa ss/wo+rd&=%41é", KEY, '{"type": "account", "key": "a\\"b"}']

values = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=SHORTEST, max_size=40
).filter(lambda text: len(text.strip().encode()) >= SHORTEST)


def in_pieces(mask: Mask, text: bytes, cuts: list[int]) -> bytes:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    stream = mask.stream()
    shown = b"".join(stream.feed(text[a:b]) for a, b in itertools.pairwise(at))
    return shown + stream.rest()


def wrapped(text: bytes, width: int = 76) -> bytes:
    return b"\n".join(text[at : at + width] for at in range(0, len(text), width))


def leaks(shown: bytes, secrets: list[str]) -> list[bytes]:
    """Forms of secrets that are in what was shown, looked for in the plainest way there is."""
    flat = shown.translate(None, b"\r\n")
    unquoted = urllib.parse.unquote_to_bytes(shown)
    found = []
    for secret in secrets:
        plain = [each for each in plain_forms(secret) if len(each) >= SHORTEST]
        coded = [each for each in base64_forms(secret) if len(each) >= SHORTEST]
        found += [each for each in plain if each in shown or each in unquoted]
        found += [each for each in coded if each in flat]
    return found


ENCODINGS = {
    "as it is": lambda secret: secret.encode(),
    "json": lambda secret: json.dumps(secret).encode(),
    "url": lambda secret: urllib.parse.quote(secret, safe="").encode(),
    "url, small letters": lambda secret: "".join(f"%{b:02x}" for b in secret.encode()).encode(),
    "form": lambda secret: urllib.parse.quote_plus(secret).encode(),
    "path": lambda secret: urllib.parse.quote(secret).encode(),
    **{
        f"base64 at {before}": lambda secret, before=before: base64.b64encode(
            b"u:!"[:before] + secret.encode()
        )
        for before in range(4)
    },
    "base64 for urls": lambda secret: base64.urlsafe_b64encode(secret.encode()),
    "base64 in lines": lambda secret: wrapped(base64.b64encode(b"user:" + secret.encode())),
    "base64 in short lines": lambda secret: wrapped(base64.b64encode(secret.encode()), 5),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_in_each_encoding(secret: str, encoding: str) -> None:
    coded = ENCODINGS[encoding](secret)
    mask = Mask(SECRETS)
    whole = in_pieces(mask, b"before " + coded + b" after", [])
    assert HIDDEN in whole
    assert leaks(whole, SECRETS) == []
    assert whole.startswith(b"before ")
    assert whole.endswith(b" after")
    for cut in range(1, len(coded) + 14):
        assert leaks(in_pieces(mask, b"before " + coded + b" after", [cut]), SECRETS) == []
    one_by_one = in_pieces(mask, coded, list(range(len(coded))))
    assert leaks(one_by_one, SECRETS) == []


@given(
    secret=values,
    parts=st.lists(st.sampled_from(list(ENCODINGS)) | st.binary(max_size=6), max_size=8),
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_no_way_to_split_output_shows_a_secret(
    secret: str, parts: list[str | bytes], cuts: list[int]
) -> None:
    text = b"".join(ENCODINGS[each](secret) if isinstance(each, str) else each for each in parts)
    assert leaks(in_pieces(Mask([secret]), text, cuts), [secret]) == []


@given(st.binary(), st.lists(st.integers(0, 10_000)))
def test_text_without_secrets_is_unchanged(text: bytes, cuts: list[int]) -> None:
    shown = in_pieces(Mask(["correct horse battery staple"]), text, cuts)
    assert shown == text
    assert in_pieces(Mask([]), text, cuts) == text


@given(
    st.lists(st.sampled_from([b"hunter2", b"hunter", b"a", b"\n", b"hun", b"%", b"%6"])),
    st.lists(st.integers(0, 60)),
)
def test_all_other_output_is_unchanged(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    assert in_pieces(Mask(["hunter2"]), whole, cuts) == whole.replace(b"hunter2", HIDDEN)


def test_values_that_overlap_are_hidden_together() -> None:
    mask = Mask(["abcdef", "defghi"])
    assert in_pieces(mask, b"xabcdefghix", []) == b"x***x"
    assert in_pieces(mask, b"xabcdefghix", [8]) == b"x***x"
    assert in_pieces(Mask(["abab"]), b"x" + b"ab" * 50 + b"x", [3, 4, 50]) == b"x***x"


def test_only_output_that_may_become_a_secret_is_delayed() -> None:
    stream = Mask(["hunter2"]).stream()
    assert stream.feed(b"password: hunt") == b"password: "
    assert stream.feed(b"ing\n") == b"hunting\n"
    assert stream.feed(b"50") == b"50"


def test_endless_line_breaks_are_not_delayed() -> None:
    stream = Mask(["hunter2"]).stream()
    coded = base64.b64encode(b"hunter2")
    held = 0
    for text in (coded[:6], *[b"\n" * 1_000] * 50):
        held += len(text) - len(stream.feed(text))
    assert held < 10_000


def test_a_secret_within_a_text_is_hidden() -> None:
    assert Mask(["hunter2"]).hide("exit status 1: cat hunter2") == "exit status 1: cat ***"


@pytest.mark.slow
def test_ten_thousand_ways_to_split_output_show_no_secret() -> None:
    rng = random.Random(10)
    mask = Mask(SECRETS)
    found = 0
    for _ in range(10_000):
        text = b"".join(
            rng.choice(list(ENCODINGS.values()))(rng.choice(SECRETS))
            + rng.choice([b"", b"\n", b" log line ", b"%", b"aGVsbG8="])
            for _ in range(rng.randint(1, 6))
        )
        cuts = [rng.randrange(len(text) + 1) for _ in range(rng.randint(0, 40))]
        found += len(leaks(in_pieces(mask, text, cuts), SECRETS))
    assert found == 0
