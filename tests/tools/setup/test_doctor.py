"""The doctor, run against the stand-in: each mistake is found and reported."""

from __future__ import annotations

import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from bassloop.settings import Settings
from bassloop.standin import Fault
from bassloop.tools.setup.doctor import Treatment, examine
from bassloop.tools.trial import app_key
from tests.forked_programs import run_bassloop
from tests.github.world import KEY, World, open_world

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.tools.setup.doctor import Diagnosis


def settings_of(world: World, url: str | None, **more: Any) -> Settings:
    given = {
        "external_url": url,
        "github_api_url": world.standin.url,
        "github_app_id": 1,
        "github_app_client_id": "Iv1.0000000000000001",
        "github_app_private_key": KEY.private,
        "github_app_webhook_secret": "s3cret",
        **more,
    }
    return Settings(**given)


async def serve_loop(statuses: list[int], *, task_status: trio.TaskStatus[str]) -> None:
    """A loop as far as the doctor sees it: it is up, and answers deliveries with the next status."""
    web = QuartTrio("a loop")

    @web.get("/up")
    async def up() -> str:
        return "up\n"

    @web.post("/integrations/github/events")
    async def events() -> tuple[str, int]:
        return "", statuses.pop(0) if len(statuses) > 1 else statuses[0]

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = config.shutdown_timeout = 0.2
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        bound: list[str] = await nursery.start(
            partial(hypercorn.trio.serve, web, config, mode="asgi")
        )
        task_status.started(bound[0].rstrip("/"))


async def examined(
    repository: Path,
    *,
    statuses: tuple[int, ...] = (202,),
    deliveries: int = 1,
    treatment: Treatment | None = None,
    settings: dict[str, Any] | None = None,
    faults: tuple[Fault, ...] = (),
    **options: Any,
) -> list[Diagnosis]:
    key = options.pop("key", KEY)
    async with open_world(repository, key=key, **options) as world, trio.open_nursery() as nursery:
        loop: str = await nursery.start(serve_loop, list(statuses))
        world.standin.hook_url = loop
        for _ in range(deliveries):
            await world.standin.deliver(loop, "push", await world.standin.payload("push"))
        for fault in faults:
            world.standin.faults.add(fault)
        known = settings_of(world, loop, **(settings or {}))
        found = [each async for each in examine(known, world.github, treatment)]
        nursery.cancel_scope.cancel()
    return found


def failed_checks(found: list[Diagnosis]) -> list[str]:
    return [each.text for each in found if each.state == "wrong"]


def doubtful(found: list[Diagnosis]) -> list[str]:
    return [each.text for each in found if each.state == "doubtful"]


async def test_a_correct_app_has_no_findings_and_every_part_is_listed(repository: Path) -> None:
    found = await examined(repository)
    assert failed_checks(found) == []
    assert doubtful(found) == ["deliveries are sent without TLS"]
    told = "\n".join(each.text for each in found)
    for part in (
        "clock agrees",
        "GitHub knows the App bass-loop",
        "the App has the permissions",
        "subscribed to merge_group, pull_request, push, repository",
        "the installation on octocat has the permissions",
        "deliveries go to http://127.0.0.1",
        "deliveries come as JSON",
        "the loop answers at",
        "the one delivery of the last 24 hours arrived",
        "calls are left",
        "the device flow is on",
    ):
        assert part in told


async def test_an_unreachable_github_is_the_only_finding() -> None:
    from bassloop.github import GitHubConfig, RetryPolicy, open_github

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with open_github(
            GitHubConfig(url, 1, KEY.private, retries=RetryPolicy(attempts=1))
        ) as github:
            settings = Settings(github_api_url=url)
            found = [each async for each in examine(settings, github)]
    assert len(found) == 1
    assert "GITHUB_API_URL" in failed_checks(found)[0]


async def test_without_an_app_the_command_that_creates_one_is_named(repository: Path) -> None:
    from bassloop.github import GitHubConfig, open_github

    async with (
        open_world(repository) as world,
        open_github(GitHubConfig(world.standin.url)) as github,
    ):
        found = [each async for each in examine(settings_of(world, None), github)]
    assert failed_checks(found) == ["no GitHub App is set"]
    assert "bassloop github create-app" in (found[-1].fix or "")


async def test_the_key_of_another_app_is_reported(repository: Path) -> None:
    found = await examined(repository, key=app_key())
    assert len(failed_checks(found)) == 1
    assert "401" in failed_checks(found)[0]
    assert "private key" in failed_checks(found)[0]


async def test_missing_permissions_of_the_app_and_its_installation_are_reported(
    repository: Path,
) -> None:
    granted = {"checks": "write", "contents": "read", "metadata": "read", "pull_requests": "read"}
    found = await examined(repository, permissions=granted)
    assert failed_checks(found) == [
        "the App lacks the permissions merge_queues (read)",
        "the installation on octocat lacks the permissions merge_queues (read)",
    ]


async def test_a_missing_event_subscription_is_reported(repository: Path) -> None:
    found = await examined(repository, events=("push",))
    assert failed_checks(found) == [
        "the App is not subscribed to merge_group, pull_request, repository"
    ]


async def test_a_webhook_that_delivers_forms_is_reported_and_fixed_on_request(
    repository: Path,
) -> None:
    found = await examined(repository, hook_config={"content_type": "form"})
    assert failed_checks(found) == ["deliveries come as form, which the loop refuses with 415"]
    assert "--fix" in next(each.fix or "" for each in found if each.state == "wrong")
    found = await examined(
        repository, hook_config={"content_type": "form"}, treatment=Treatment(fix=True)
    )
    assert failed_checks(found) == []
    assert "the webhook's settings were set" in "\n".join(each.text for each in found)


async def test_a_delivery_is_sent_again_on_request(repository: Path) -> None:
    found = await examined(repository, statuses=(500, 202), treatment=Treatment(redeliver=True))
    told = "\n".join(each.text for each in found)
    assert "1 of 1 deliveries of the last 24 hours did not arrive" in told
    assert "was delivered again, and arrived" in told


async def test_a_delivery_that_fails_again_is_reported_with_the_fix(repository: Path) -> None:
    found = await examined(repository, statuses=(202, 403), treatment=Treatment(redeliver=True))
    assert len(failed_checks(found)) == 1
    assert "the answer was 403" in failed_checks(found)[0]


async def test_without_a_delivery_none_can_be_sent_again(repository: Path) -> None:
    found = await examined(repository, deliveries=0, treatment=Treatment(redeliver=True))
    assert "there is no delivery to send again" in doubtful(found)


async def test_one_part_that_github_refuses_does_not_hide_the_others(repository: Path) -> None:
    refused = Fault("GET", "/app/installations.*", status=500)
    found = await examined(repository, faults=(refused, refused, refused))
    assert any("500" in said for said in failed_checks(found))
    assert "deliveries come as JSON" in [each.text for each in found]


async def test_a_loop_that_can_not_be_reached_from_here_gives_a_warning(repository: Path) -> None:
    found = await examined(repository, settings={"external_url": "http://127.0.0.1:9"})
    assert any("can't be reached from here" in said for said in doubtful(found))
    assert any("the loop is at http://127.0.0.1:9" in said for said in failed_checks(found))


async def test_a_disabled_device_flow_gives_a_warning(repository: Path) -> None:
    assert "the device flow is off" in doubtful(await examined(repository, device_flow=False))


async def test_the_command_prints_all_findings_and_exits_accordingly(
    repository: Path, tmp_path: Path
) -> None:
    async with open_world(repository) as world:
        world.standin.hook_config.update(url="http://127.0.0.1:9/integrations/github/events")
        settings = tmp_path / "settings.env"
        settings.write_text(
            f"GITHUB_API_URL={world.standin.url}\nEXTERNAL_URL=http://127.0.0.1:9\nGITHUB_APP_ID=1\n"
            f"GITHUB_APP_WEBHOOK_SECRET=s\nGITHUB_APP_PRIVATE_KEY='{KEY.private}'\n"
        )
        env = {"PYTHONPATH": ":".join(sys.path), "BASSLOOP_SETTINGS": str(settings)}
        run = partial(run_bassloop, "github", "doctor", env=env)
        done = await run()
        assert done.returncode == 0, done.stdout
        assert b"  fix: is the loop running?" in done.stdout
        world.standin.hook_config.update(content_type="form")
        done = await run()
        assert done.returncode == 1
        assert b"deliveries come as form" in done.stdout
        assert b"1 thing is wrong" in done.stdout
