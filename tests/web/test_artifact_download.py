"""Artifacts are downloaded by visitors who may see their run, as files and never as pages."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bassloop.store import Retention
from bassloop.tools.loop_client import LoopClient, LoopError, RunAddress, download, list_artifacts

from .site import HOSTILE, Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

ADDRESS = RunAddress("http://loop", "r")


@dataclass(frozen=True, slots=True)
class SiteClient(LoopClient):
    """Asks a site, without a network."""

    site: Site | None = None

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, parameters: Any = None, headers: Any = ()
    ) -> AsyncGenerator[httpx.Response]:
        assert self.site is not None
        transport = httpx.ASGITransport(self.site.app)
        headers = [("Accept", "application/json"), *headers]
        async with (
            httpx.AsyncClient(transport=transport, headers=headers) as client,
            client.stream(method, self.server + path) as answer,
        ):
            yield answer


def client_of(site: Site) -> SiteClient:
    return SiteClient(ADDRESS.server, site=site)


async def test_an_artifact_is_downloaded_and_not_shown_by_browsers(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        name = "site/index é.html"
        kept = await site.keep("r", name, HOSTILE.encode() * 10_000)
        page = await site.text("/runs/r")
        assert "/runs/r/artifacts/site/index%20%C3%A9.html" in page
        assert kept.sha256 in page
        answer = await site.get("/runs/r/artifacts/site/index é.html")
        assert answer.status_code == 200
        assert await answer.get_data() == HOSTILE.encode() * 10_000
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        disposition = answer.headers["Content-Disposition"]
        assert disposition == "attachment; filename*=UTF-8''index%20%C3%A9.html"
        again = await site.get(
            "/runs/r/artifacts/site/index é.html", **{"If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
        assert (await site.get("/runs/r/artifacts/other")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "content", "where"),
    [
        ({"Range": "bytes=4-"}, 206, b"456789", "bytes 4-9/10"),
        ({"Range": "bytes=2-5"}, 206, b"2345", "bytes 2-5/10"),
        ({"Range": "bytes=-3"}, 206, b"789", "bytes 7-9/10"),
        ({"Range": "bytes=8-100"}, 206, b"89", "bytes 8-9/10"),
        ({"Range": "bytes=10-"}, 416, b"", "bytes */10"),
        ({"Range": "bytes=0-1,4-5"}, 200, b"0123456789", None),
        ({"Range": "lines=1-2"}, 200, b"0123456789", None),
        ({"Range": "nonsense"}, 200, b"0123456789", None),
        ({"Range": "bytes=4-", "If-Range": '"another"'}, 200, b"0123456789", None),
        ({"Range": "bytes=4-", "If-Range": "THIS"}, 206, b"456789", "bytes 4-9/10"),
    ],
)
async def test_a_range_of_an_artifact_can_be_requested(
    tmp_path: Path, asked: dict[str, str], status: int, content: bytes, where: str | None
) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        kept = await site.keep("r", "a", b"0123456789")
        headers = {name: value.replace("THIS", f'"{kept.sha256}"') for name, value in asked.items()}
        answer = await site.get("/runs/r/artifacts/a", **headers)
        assert (answer.status_code, await answer.get_data()) == (status, content)
        assert answer.headers.get("Content-Range") == where
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=4-"}])
async def test_a_head_of_an_artifact_reads_no_file(
    tmp_path: Path, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges are only for GET (RFC 9110, section 14.2)."""
    async with open_site(tmp_path) as site:
        await site.run()
        await site.keep("r", "a", b"0123456789")
        monkeypatch.delattr(type(site.store.artifacts), "reading")
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://loop") as client:
            answer = await client.head("/runs/r/artifacts/a", headers=asked)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == "10"
        assert answer.headers["Accept-Ranges"] == "bytes"


async def test_private_artifacts_stay_private(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run(public=False)
        await site.keep("r", "a", b"secret")
        for path in ("/runs/r/artifacts", "/runs/r/artifacts/a"):
            assert (await site.get(path)).status_code == 404
            stranger = await site.signed_in(7, "stranger")
            assert (await site.get(path, **stranger)).status_code == 404
            reader = await site.signed_in(8, "reader", r2="read")
            answer = await site.get(path, **reader)
            assert answer.status_code == 200
            assert "no-store" in answer.headers["Cache-Control"]


async def test_expired_artifacts_are_marked_as_expired(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        await site.keep("r", "a", b"old", expires_at=200.0)
        await site.store.prune(Retention(), now=1e9)
        assert (await site.get("/runs/r/artifacts/a")).status_code == 410
        assert "expired" in await site.text("/runs/r")
        [listed] = (await site.json("/runs/r"))["artifacts"]
        assert not listed["kept"]


async def test_artifacts_are_downloaded_under_their_paths_and_overwrite_nothing(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        await site.keep("r", "dist/a.whl", b"a wheel" * 100_000)
        client, folder = client_of(site), tmp_path / "to"
        [artifact] = await list_artifacts(client, ADDRESS)
        target = await download(client, ADDRESS, artifact, folder)
        assert target == folder / "dist" / "a.whl"
        assert target.read_bytes() == b"a wheel" * 100_000
        with pytest.raises(LoopError, match="is there already"):
            await download(client, ADDRESS, artifact, folder)
        assert [path.name for path in (folder / "dist").iterdir()] == ["a.whl"]


async def test_a_lying_loop_leaves_no_files(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        kept = await site.keep("r", "a", b"right")
        client = client_of(site)
        path = tmp_path / "blobs" / "artifacts" / "r" / kept.sha256
        for wrong in (b"wrong", b"right and more", b"r"):
            path.write_bytes(wrong)
            with pytest.raises(LoopError):
                await download(
                    client, ADDRESS, (await list_artifacts(client, ADDRESS))[0], tmp_path / "to"
                )
        assert not list((tmp_path / "to").iterdir())


async def test_no_link_and_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run()
        await site.keep("r", "dir/a", b"x")
        client = client_of(site)
        (tmp_path / "to").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "to" / "dir").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(LoopError, match="symbolic link"):
            await download(
                client, ADDRESS, (await list_artifacts(client, ADDRESS))[0], tmp_path / "to"
            )
        await site.keep("r", "../b", b"x")  # as only a loop that lies lists it
        with pytest.raises(LoopError, match="not a relative one"):
            await list_artifacts(client, ADDRESS)
