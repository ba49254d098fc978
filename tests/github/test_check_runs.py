"""Requests about check runs stay within GitHub's limits for any content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassloop.github import Action, Annotation, CheckOutput, CheckRunDraft, GitHubError, Refused
from bassloop.github.check_runs import (
    CONCLUSIONS,
    MAX_ANNOTATIONS,
    MAX_TEXT,
    MAX_TITLE,
    CheckRunChange,
    annotation_batch,
    change_request,
    creation_request,
    cut,
    parse_check_run,
    title,
)
from bassloop.standin import check_run_routes as githubs

DRAFT: dict[str, Any] = {
    "name": "test",
    "head_sha": "a" * 40,
    "external_id": "r",
    "details_url": "https://loop.test/runs/r",
    "status": "queued",
    "output": CheckOutput("t", "s"),
}


def with_actions(action: Action, *, times: int = 1) -> CheckOutput:
    return CheckOutput("t", "s", actions=(action,) * times)


unhurried = settings(suppress_health_check=[HealthCheck.too_slow])
wild = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("`~\n é😀\ud800")), max_size=300)
long = st.builds(lambda text, times: text * times, wild, st.sampled_from([1, 500]))


@unhurried
@given(name=wild, headline=long, summary=long, text=st.none() | long, url=wild)
def test_check_runs_are_valid_or_refused_before_they_are_sent(
    name: str, headline: str, summary: str, text: str | None, url: str
) -> None:
    fields = {"name": name, "output": CheckOutput(headline, summary, text)}
    try:
        sent = creation_request(CheckRunDraft(**{**DRAFT, **fields, "details_url": url}))
    except Refused:
        assert not name.strip() or len(name) > 255
        return
    assert githubs.refusal(sent, None) is None


@unhurried
@given(
    path=wild.filter(bool),
    line=st.integers(-5, 10**6),
    end=st.none() | st.integers(-5, 10**6),
    message=long,
    headline=st.none() | long,
)
def test_annotations_are_within_githubs_limits(
    path: str, line: int, end: int | None, message: str, headline: str | None
) -> None:
    notes = [Annotation(path, line, message, "warning", headline, end)] * 60
    output = {"title": "t", "summary": "s", "annotations": annotation_batch(notes, 0)}
    before = {"status": "queued", "conclusion": None}
    assert githubs.refusal({"output": output}, before) is None
    assert len(annotation_batch(notes, 0)) == MAX_ANNOTATIONS
    assert len(annotation_batch(notes, 50)) == 10
    assert annotation_batch(notes, 60) == []


@unhurried
@given(text=long, limit=st.integers(100, 1500))
def test_a_cut_text_is_within_the_limit_and_keeps_its_beginning(text: str, limit: int) -> None:
    whole = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    kept = cut(text, limit)
    assert len(kept.encode()) <= limit
    if len(whole.encode()) <= limit:
        assert kept == whole
    else:
        assert "cut here" in kept
        before = kept.removesuffix(kept[kept.index("… (cut here") :]).rstrip("\n`~ ")
        assert whole.startswith(before)


@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
def test_a_cut_in_a_block_of_code_closes_the_block(fence: str) -> None:
    kept = cut(f"Before.\n\n{fence}text\n" + "a line\n" * 10_000 + f"{fence}\n", 1000)
    assert f"a line\n{fence}\n\n… (cut here" in kept


def test_a_cut_after_a_block_of_code_does_not_open_one() -> None:
    kept = cut("```\ncode\n```\n" + "prose. " * 10_000, 1000)
    assert kept.count("```") == 2


def test_a_line_of_code_that_looks_like_a_fence_does_not_count_as_one() -> None:
    kept = cut("````\n```\n" + "x\n" * 5000 + "````\n", 1000)
    assert "\n````\n\n…" in kept


def test_a_text_is_cut_at_the_end_of_a_line_if_one_is_near() -> None:
    kept = cut("a line of text\n" * 10_000)
    assert "a line of text\n\n…" in kept
    assert MAX_TEXT - 100 < len(kept.encode()) <= MAX_TEXT


@unhurried
@given(wild)
def test_a_title_is_a_single_line_and_never_empty(text: str) -> None:
    shown = title(text)
    assert 1 <= len(shown) <= MAX_TITLE
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": " "}, "1 to 255"),
        ({"name": "n" * 256}, "1 to 255"),
        ({"head_sha": "main"}, "no commit's sha"),
        ({"external_id": "x" * 256}, "external id"),
        ({"status": "done"}, "status is one of completed, in_progress, queued"),
        ({"status": "completed"}, "has a conclusion"),
        ({"conclusion": "success"}, "has a conclusion"),
        ({"status": "completed", "conclusion": "stale"}, "conclusion is one of"),
        (
            {"output": with_actions(Action("Cancel", "Stop it", "cancel"), times=4)},
            "at most 3 actions",
        ),
        ({"output": with_actions(Action("Cancel", "Stop it", "i" * 21))}, "identifier has 1 to 20"),
        ({"output": with_actions(Action("", "Stop it", "cancel"))}, "label has 1 to 20"),
    ],
)
def test_requests_that_github_would_refuse_are_refused_with_the_reason(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        creation_request(CheckRunDraft(**{**DRAFT, **fields}))


@pytest.mark.parametrize("conclusion", sorted(CONCLUSIONS))
def test_every_conclusion_completes_a_check_run(conclusion: str) -> None:
    sent = change_request(CheckRunChange("completed", CheckOutput("t", "s"), conclusion=conclusion))
    assert githubs.refusal(sent, {"status": "in_progress", "conclusion": None}) is None


def test_a_link_that_is_not_a_web_address_is_left_out() -> None:
    sent = creation_request(CheckRunDraft(**{**DRAFT, "details_url": "javascript:alert(1)"}))
    assert "details_url" not in sent


@pytest.mark.parametrize("item", [None, [], {}, {"id": "x"}, {"id": 1, "name": "n"}, "text"])
def test_an_invalid_check_run_is_an_error(item: Any) -> None:
    with pytest.raises(GitHubError, match="not a check run"):
        parse_check_run(item)
