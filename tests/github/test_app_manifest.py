"""Creating an App from a manifest: the request, its address, and the credentials, which GitHub returns once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.github import GitHubError, NotFound
from bassloop.github.app_registration import (
    EVENTS,
    PERMISSIONS,
    exchange,
    form_url,
    manifest,
    web_url,
)
from bassloop.standin import Fault

from .world import KEY, open_world

if TYPE_CHECKING:
    from pathlib import Path


def test_the_manifest_requests_exactly_the_permissions_that_the_loop_needs() -> None:
    asked = manifest("loop", "https://loop.test", "http://127.0.0.1:1/back")
    assert asked["default_permissions"] == PERMISSIONS
    assert set(PERMISSIONS.values()) - {"read"} == {"write"}
    assert [name for name, level in PERMISSIONS.items() if level != "read"] == ["checks"]
    assert asked["hook_attributes"]["url"] == "https://loop.test/integrations/github/events"
    assert not {"check_run", "check_suite"} & set(EVENTS)


def test_the_manifest_is_posted_for_a_person_or_an_organization() -> None:
    assert (
        form_url("https://github.com", "a b") == "https://github.com/settings/apps/new?state=a%20b"
    )
    assert form_url("https://ghe.test/", "s", "acme") == (
        "https://ghe.test/organizations/acme/settings/apps/new?state=s"
    )
    with pytest.raises(ValueError, match="not an organization"):
        form_url("https://github.com", "s", "a/../b")


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
        ("https://github.acme.test/api/v3", "https://github.acme.test"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_the_web_address_is_derived_from_the_apis_address(api: str, web: str) -> None:
    assert web_url(api) == web


async def test_a_code_is_exchanged_once(repository: Path) -> None:
    async with open_world(repository, manifest_code="c0de", app_private_key=KEY.private) as world:
        made = await exchange(world.github.api, "c0de")
        assert (made.id, made.slug, made.private_key) == (1, "bass-loop", KEY.private)
        assert made.webhook_secret == "s3cret"
        assert "s3cret" not in repr(made)
        assert KEY.private not in repr(made)
        with pytest.raises(NotFound, match="start again"):
            await exchange(world.github.api, "c0de")
        with pytest.raises(GitHubError, match="isn't a code"):
            await exchange(world.github.api, "../user")


async def test_a_code_whose_answer_was_lost_is_not_sent_again(repository: Path) -> None:
    async with open_world(repository, manifest_code="c0de") as world:
        world.standin.faults.add(Fault("POST", ".*/conversions", status=502, after=True))
        with pytest.raises(GitHubError, match="502"):
            await exchange(world.github.api, "c0de")
        assert len(world.asked("/conversions")) == 1
