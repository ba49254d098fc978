"""The pages: what they show, to whom, and that nothing from outside comes alive on them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import jinja2
import pytest
import trio

from bassloop.checks.run_failure import failing_step, failure_reason
from bassloop.store import StepUpdate
from bassloop.web import create_app, presentation
from bassloop.web.app import compile_templates, prepare_pages
from bassloop.web.pages.run_page import STEPS_AT_ONCE
from tests.records import make_run, make_step

from .site import HOSTILE, open_site

if TYPE_CHECKING:
    from bassloop.checks.output_downloads import Outputs
    from bassloop.store import Run


async def test_a_runs_page_has_its_log_without_any_javascript(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run()
        page = await site.text("/runs/r")
        assert f'id="v{row}-L1"' in page
        assert '<span class="text">last</span>' in page
        assert "octocat’s runner" in page


async def test_nothing_that_a_stranger_wrote_becomes_active(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run(cmdline=HOSTILE, check_name=HOSTILE, head_branch=HOSTILE)
        for path in (
            "/",
            "/runs",
            "/runs/r",
            f"/runs/r/vertexes/{row}",
            "/thunks/DIGEST",
            "/repositories/octocat/hello",
            f"/repositories/octocat/hello/commits/{'0' * 40}",
            "/repositories/octocat/hello/failures.atom",
            f"/repositories/octocat/hello/badge.svg?check={quote(HOSTILE)}",
        ):
            page = await site.text(path)
            assert "<script>alert" not in page
            assert "11111" not in page


@pytest.mark.parametrize(
    "path", ["/", "/runs", "/up", "/ssh", "/nowhere", "/runs/none", "/colours.css"]
)
async def test_every_response_forbids_foreign_content(tmp_path: Path, path: str) -> None:
    async with open_site(tmp_path) as site:
        answer = await site.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_node_that_drains_reports_not_ready_and_continues_to_answer(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        assert (await site.get("/open")).status_code == 200
        site.inbox.is_draining = True
        assert (await site.get("/open")).status_code == 404
        assert (await site.get("/up")).status_code == 200


def test_no_template_has_inline_script_or_style() -> None:
    folder = Path(presentation.__file__).parent / "templates"
    for template in folder.glob("*.html"):
        text = template.read_text()
        assert " style=" not in text
        assert " onclick=" not in text
        assert "<style" not in text
        assert "<script>" not in text


async def test_visitors_can_not_tell_private_runs_from_missing_ones(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run(public=False)
        for path in (
            "/runs/r",
            f"/runs/r/vertexes/{row}/lines",
            f"/runs/r/vertexes/{row}/raw",
            "/thunks/DIGEST",
        ):
            assert (await site.get(path)).status_code == 404
            assert (await site.get(path, accept="application/json")).status_code == 404
        assert "/runs/r" not in await site.text("/runs")
        assert (await (await site.get("/runs", accept="application/json")).get_json())["runs"] == []


async def test_the_same_addresses_serve_json(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        runs = await (await site.get("/runs", accept="application/json")).get_json()
        assert [run["id"] for run in runs["runs"]] == ["r"]
        run = await (await site.get("/runs/r", accept="application/json")).get_json()
        assert (run["state"], run["vertexes"][0]["state"]) == ("failed", "bad")
        error = await site.get("/runs/none", accept="application/json")
        assert "no such run" in (await error.get_json())["error"]


async def test_runs_are_filtered_and_paged(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        for number in range(60):
            await site.run(f"r{number}", created_at=float(number), head_branch=f"b{number % 2}")
        first = await (await site.get("/runs", accept="application/json")).get_json()
        then = await (
            await site.get(f"/runs?before={first['next']}", accept="application/json")
        ).get_json()
        ids = [run["id"] for run in first["runs"] + then["runs"]]
        assert ids == [f"r{number}" for number in range(59, -1, -1)]
        odd = await (await site.get("/runs?branch=b1", accept="application/json")).get_json()
        assert {run["head_branch"] for run in odd["runs"]} == {"b1"}
        assert (await site.get("/runs?state=nonsense")).status_code == 400


async def test_lines_are_served_in_bounded_ranges_and_the_log_unchanged(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run()
        found = await (
            await site.get(f"/runs/r/vertexes/{row}/lines?start=1&stop=99999999")
        ).get_json()
        assert (found["start"], found["total"]) == (1, 3)
        assert found["lines"][1] == "last"
        raw = await site.get(f"/runs/r/vertexes/{row}/raw")
        assert await raw.get_data() == f"one\n{HOSTILE}\nlast\n".encode()
        assert raw.headers["Content-Disposition"].startswith("attachment")
        assert raw.headers["Content-Type"].startswith("text/plain")


async def test_a_webhook_is_passed_to_the_inbox_unchanged(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        answer = await site.app.test_client().post(
            "/integrations/github/events", data=b'{"a": 1}', headers={"X-GitHub-Event": "push"}
        )
        assert answer.status_code == 202
        [(headers, body)] = site.inbox.given
        assert headers["x-github-event"] == "push"
        assert json.loads(body) == {"a": 1}


async def test_a_webhook_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        headers = {"Content-Length": str((25 << 20) + 1)}
        answer = await site.app.test_client().post(
            "/integrations/github/events", data=b"x", headers=headers
        )
        assert answer.status_code == 413
        assert site.inbox.given == []


def test_the_reason_for_a_failure_is_the_first_failing_step() -> None:
    first = make_step(1, "build", error="exit status 2")
    then = make_step(2, "test", error="build failed", inputs=("build",))
    culprit = failing_step([then, first])
    assert culprit == first
    assert failure_reason(make_run(state="failed", message=None), culprit) == ("exit status 2")


async def test_a_log_can_be_downloaded_as_received_or_as_shown(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = await site.step("r", "v", b"\x1b[31mred\x1b[0m\nplain\n" * 50_000)
        raw = await site.get(f"/runs/r/vertexes/{row}/raw")
        assert raw.headers["Content-Length"] == str(50_000 * 19)
        assert await raw.get_data() == b"\x1b[31mred\x1b[0m\nplain\n" * 50_000
        text = await site.get(f"/runs/r/vertexes/{row}/text")
        assert await text.get_data() == b"red\nplain\n" * 50_000
        assert text.headers["Content-Disposition"] == f'attachment; filename="test-{row}.txt"'


async def test_lines_are_served_with_their_times_on_request(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = (await site.store.steps.put("r", [StepUpdate("v", "v", 1.0)]))["v"].row
        log = await site.store.logs.open("r", row)
        await log.append(b"one\ntwo\n", None, 1, 100.0)
        await log.append(b"three\n", None, 2, 105.5)
        await log.close()
        path = f"/runs/r/vertexes/{row}/lines?start=1"
        assert "times" not in await site.json(path)
        found = await site.json(f"{path}&times=yes")
        assert found["times"] == [[0, 100.0, 1], [2, 105.5, 2]]


@pytest.mark.parametrize("what", ["raw", "text"])
async def test_a_request_for_a_logs_headers_reads_nothing(tmp_path: Path, what: str) -> None:
    async with open_site(tmp_path) as site:
        path = f"/runs/r/vertexes/{await site.run()}/{what}"
        asked = await site.get(path)
        told = await site.app.test_client().head(path)
        assert await asked.get_data()
        assert (told.status_code, await told.get_data()) == (200, b"")
        for header in ("content-type", "content-disposition"):
            assert told.headers.get(header) == asked.headers.get(header)


async def test_a_request_for_a_journals_headers_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        monkeypatch.delattr(type(site.store.journals), "following")
        told = await site.app.test_client().head("/repositories/octocat/hello/journal.jsonl")
        assert told.status_code == 200
        assert told.headers["Content-Type"] == "application/jsonl"


class Unasked:
    """Outputs that nobody may ask a runner for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def may_have(self, run: Run) -> bool:
        return True

    async def open(self, run: Run, path: str) -> None:
        self.asked.append(path)


async def test_a_head_request_for_an_output_does_not_call_a_runner(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run(state="succeeded")
        outputs = Unasked()
        app = create_app(replace(site.context, outputs=cast("Outputs", outputs)))
        told = await app.test_client().head("/runs/r/output?path=x")
        assert told.status_code == 405
        assert outputs.asked == []


async def test_error_pages_say_what_happened_and_what_to_do(tmp_path: Path) -> None:
    async def broken() -> str:
        raise ZeroDivisionError

    async with open_site(tmp_path) as site:
        site.app.add_url_rule("/broken", "broken", broken)
        site.app.config["PROPAGATE_EXCEPTIONS"] = False
        for path, code, title, text in (
            ("/nowhere", 404, "Not found", "There is no page at this address."),
            ("/runs/x", 404, "Not found", "There is no such run, or you don"),
            ("/deliveries", 403, "Not allowed", "Deliveries are for the loop"),
            ("/broken", 500, "Something went wrong here", "find the reason in its log"),
        ):
            answer = await site.get(path)
            page = await answer.get_data(as_text=True)
            assert answer.status_code == code
            assert f"<h1>{title} <small>{code}</small></h1>" in page
            assert text in page


async def test_templates_are_compiled_before_the_first_request(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        names = site.app.jinja_env.list_templates()
        assert {"run.html", "base.html", "failures.atom"} <= set(names)
        await prepare_pages(site.app)
        cache = site.app.jinja_env.cache
        assert cache is not None
        assert {name for _, name in cache.keys()} == set(names)  # noqa: SIM118  (it isn't a dict)


async def test_templates_are_compiled_once_for_all_applications_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_templates()

    def compile_again(*arguments: object) -> None:
        raise AssertionError("a template is compiled again")

    monkeypatch.setattr(jinja2.Environment, "compile", compile_again)
    async with open_site(tmp_path) as site:
        await prepare_pages(site.app)
        assert (await site.get("/")).status_code == 200


async def test_a_server_compiles_its_templates_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = trio.Event()

    async def prepare(app: object) -> None:
        began.set()

    monkeypatch.setattr("bassloop.web.app.prepare_pages", prepare)
    async with open_site(tmp_path) as site, site.app.test_app():
        with trio.fail_after(120):
            await began.wait()


class TaskSteps(trio.abc.Instrument):
    """Counts how often the tasks of requests ran until their next checkpoint."""

    def __init__(self) -> None:
        self.count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += "handle_request" in task.name


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_other_tasks_run_while_the_page_of_a_run_with_many_steps_is_rendered(
    tmp_path: Path, accept: str
) -> None:
    counts = []
    async with open_site(tmp_path) as site:
        await site.run("r")
        for number in (1, 10 * STEPS_AT_ONCE):
            updates = [StepUpdate(digest=str(each), name="make") for each in range(number)]
            await site.store.steps.put("r", updates)
            await site.get("/runs/r", Accept=accept)
            steps = TaskSteps()
            trio.lowlevel.add_instrument(steps)
            await site.get("/runs/r", Accept=accept)
            trio.lowlevel.remove_instrument(steps)
            counts.append(steps.count)
    assert counts[1] - counts[0] >= 10


def test_long_names_are_not_split_like_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes a millisecond for each thousand characters, and a stranger's run may have millions."""
    lengths = []

    def split(text: str) -> list[str]:
        lengths.append(len(text))
        return shlex.split(text)

    monkeypatch.setattr(presentation, "shlex", SimpleNamespace(split=split))
    line = "echo 'it' | cat; " * 200
    for name, title in (
        ("x " * 2000, None),
        (f"sh -c {shlex.quote(line)}", line),
        (f"sh -ec {shlex.quote('make')}", None),
        ("sh -ec 'make it'", "make it"),
        ('sh -c "make it"', "make it"),
        (f'sh -c "{line}"', None),
        ("sh -c 'unbalanced", None),
        ("sh -c 'make' it", None),
    ):
        expected = "make" if name == "sh -ec make" else title or name.strip()
        assert presentation.step_title(make_step(1, name)).strip() == expected.strip()
    assert max(lengths) <= presentation.MAX_SPLIT
