"""A bucket of a service: what it answers, and what its errors are called."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner

from bassloop.cli.maintenance import migrate
from bassloop.settings import Settings, SettingsError
from bassloop.settings_reader import load_settings
from bassloop.store import StoreUnusable, find_blobs, find_database, open_store
from bassloop.store.blobs.blobs import (
    BucketAddress,
    BucketError,
    BucketUnreachable,
    FileBlobs,
    shared_credentials,
)
from bassloop.store.blobs.object_blobs import BLOCK, BlockCache, ObjectBlobs
from bassloop.store.maintenance.integrity import check_store
from bassloop.store.maintenance.transfer import move_blobs
from bassloop.tools.local_daemon import use_store
from tests.s3_server import IGNORES_DEPRECATION, KEYS, serve_bucket

from .made import step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store import Store

pytestmark = IGNORES_DEPRECATION


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serve_bucket() as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def settings(endpoint: str, tmp_path: Path) -> Settings:
    prefix = tmp_path.name
    return Settings(
        data_dir=tmp_path, blobs_url=f"s3://loop-data/{prefix}?endpoint={endpoint}", **KEYS
    )


@pytest.fixture
def blobs(settings: Settings) -> ObjectBlobs:
    found = find_blobs(settings)
    assert isinstance(found, ObjectBlobs)
    return found


def test_the_probe_leaves_no_object(blobs: ObjectBlobs) -> None:
    assert list(blobs.list("")) == []


def test_an_object_is_created_once_and_read_by_range(blobs: ObjectBlobs) -> None:
    data = bytes(range(256)) * 10_000
    assert blobs.create("a/b", data)
    assert not blobs.create("a/b", b"other")
    with blobs.open("a/b") as reader:
        assert reader.size == len(data)
        for offset in (0, 1, BLOCK - 3, BLOCK, 2 * BLOCK + 9, len(data) - 2, len(data), 1 << 40):
            assert reader.read(offset, 5) == data[offset : offset + 5]
        assert reader.read(0, 1 << 40) == data
    assert blobs.fetch("a/b", 3, 4) == data[3:7]
    assert [(each.name, each.size) for each in blobs.list("a")] == [("a/b", len(data))]
    assert blobs.sizes("a") == {"b": len(data)}
    blobs.remove("a")
    blobs.remove("a")
    with pytest.raises(FileNotFoundError):
        blobs.open("a/b")
    assert list(blobs.list("")) == []


def test_empty_and_large_blobs_replace_files(blobs: ObjectBlobs, tmp_path: Path) -> None:
    for size in (0, 12_000_000):
        path = tmp_path / "file"
        path.write_bytes(b"z" * size)
        blobs.move_in(path, f"artifacts/run/{size}")
        assert not path.exists()
        with blobs.open(f"artifacts/run/{size}") as reader:
            assert reader.size == size
            assert reader.read(0, size + 1) == b"z" * size


def test_a_large_object_is_read_by_one_request_and_continued_where_it_was_cut(
    blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    blobs.create("large", data)
    starts: list[int] = []
    stream, cut = ObjectBlobs.stream, False

    def recorded(self: ObjectBlobs, name: str, start: int) -> Iterator[bytes]:
        nonlocal cut
        starts.append(start)
        for piece in stream(self, name, start):
            yield piece
            if cut:
                cut = False
                raise BucketError("the request took too long")

    monkeypatch.setattr(ObjectBlobs, "stream", recorded)

    def read(start: int) -> bytes:
        with blobs.open_sequential("large") as reader:
            assert reader.size == len(data)
            found = b""
            while piece := reader.read(start + len(found), 100_000):
                found += piece
            assert reader.read(len(data), 1) == b""
            return found

    assert read(0) == data
    assert read(len(data) - 10) == data[-10:]
    assert starts == [0, len(data) - 10]
    cut = True
    assert read(0) == data
    assert len(starts) == 4
    assert 0 < starts[-1] < len(data)
    monkeypatch.setattr(ObjectBlobs, "stream", stream)
    with blobs.open_sequential("large") as reader:
        blobs.remove("large")
        with pytest.raises(FileNotFoundError):
            reader.read(0, 1)
    with pytest.raises(FileNotFoundError):
        blobs.open_sequential("large")


async def test_a_store_works_with_a_bucket(settings: Settings, blobs: ObjectBlobs) -> None:
    line = b"0123456789" * 10 + b"\n"
    async with open_store(settings.database, blobs, synchronous="OFF") as store:
        where = await step(store)
        log = await store.logs.open(*where)
        for _ in range(30):
            await log.append(line * 1000, None, 1, 1.0)
        await log.close()
    assert list(check_store(find_database(settings.database), blobs, in_use=False)) == []
    async with open_store(settings.database, blobs, synchronous="OFF") as store:
        assert await store.logs.lines(*where, 29_999, 40_000) == [line.rstrip()]


async def test_a_folder_can_be_moved_to_a_bucket(settings: Settings, blobs: ObjectBlobs) -> None:
    async with open_store(settings.database, settings.blobs, synchronous="OFF") as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"one\ntwo\n" * 300_000, None, 1, 1.0)
        await log.close()
    [moved] = move_blobs(find_database(settings.database), blobs)
    assert moved.bytes > 2_400_000
    assert list(move_blobs(find_database(settings.database), blobs)) == []
    async with open_store(settings.database, blobs, synchronous="OFF") as store:
        assert await store.logs.lines(*where, 599_999, 600_009) == [b"two"]


async def test_the_command_moves_a_folder_to_a_bucket(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none"))
    async with open_store(settings.database, settings.blobs, synchronous="OFF") as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"one\ntwo\n", None, 1, 1.0)
        await log.close()
    assert settings.blobs_url is not None
    for count in (1, 0):
        result = await trio.to_thread.run_sync(
            CliRunner().invoke, migrate, [settings.blobs_url, "--data-dir", str(tmp_path)]
        )
        assert result.exit_code == 0, result.output
        assert f"moved {count} logs and artifacts" in result.output
        assert "now set BLOBS_URL to it" in result.output
    async with open_store(settings.database, find_blobs(settings), synchronous="OFF") as store:
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two"]


# --- what is wrong, and says so ---


def unusable(settings: Settings, **changes: str) -> str:
    with pytest.raises(StoreUnusable) as caught:
        find_blobs(settings.model_copy(update=changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_bucket_is_reported(settings: Settings, endpoint: str) -> None:
    message = unusable(settings, blobs_url=f"s3://nowhere?endpoint={endpoint}")
    assert message == (
        f"bucket nowhere at {endpoint}: there is no such bucket: make it, or name another one in "
        "BLOBS_URL (NoSuchBucket)"
    )


async def test_commands_that_need_no_bucket_work_without_one(settings: Settings) -> None:
    lost = settings.model_copy(update={"blobs_url": "s3://data?endpoint=http://127.0.0.1:9"})
    async with open_store(settings.database, settings.blobs, synchronous="OFF") as store:
        where = await step(store)

    async def ask(store: Store) -> bool:
        return await store.steps.get(*where) is not None

    assert await use_store(lost, ask)


def test_an_unreachable_service_is_reported(settings: Settings) -> None:
    message = unusable(settings, blobs_url="s3://data?endpoint=http://127.0.0.1:9")
    assert "the service can't be reached" in message
    assert "is the endpoint in BLOBS_URL right, and up?" in message


def test_an_unreachable_service_is_a_temporary_error(settings: Settings) -> None:
    settings = settings.model_copy(update={"blobs_url": "s3://data?endpoint=http://127.0.0.1:9"})
    blobs = find_blobs(settings, patient=True)
    with pytest.raises(BucketUnreachable):
        blobs.probe()


def test_a_service_that_refuses_all_requests_is_a_temporary_error(
    settings: Settings, refusing: str
) -> None:
    url = f"s3://data?endpoint={refusing}/SlowDown"
    blobs = find_blobs(settings.model_copy(update={"blobs_url": url}), patient=True)
    with pytest.raises(BucketUnreachable, match="SlowDown"):
        blobs.probe()


def test_nobody_waits_for_a_service_that_refuses(settings: Settings, refusing: str) -> None:
    url = f"s3://data?endpoint={refusing}/AccessDenied"
    with pytest.raises(StoreUnusable, match="AccessDenied"):
        find_blobs(settings.model_copy(update={"blobs_url": url}), patient=True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "permission denied"),
        ("InvalidAccessKeyId", "doesn't know AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY isn't the one"),
        ("RequestTimeTooSkewed", "clock is too far from the service's"),
        ("ExpiredToken", "AWS_SESSION_TOKEN has expired"),
    ],
)
def test_errors_of_a_service_are_explained(
    settings: Settings, refusing: str, code: str, words: str
) -> None:
    message = unusable(settings, blobs_url=f"s3://data?endpoint={refusing}/{code}")
    assert words in message
    assert f"({code})" in message


@pytest.fixture
def refusing() -> Iterator[str]:
    """A service that refuses everything, with the code that its path begins with."""

    class Refuse(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            code = self.path.split("/")[1]
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(503 if code == "SlowDown" else 403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    ["bucket", "s3:///prefix", "https://bucket", "s3://b?endpoint=host:9000", "s3://b?regoin=x", "s3://b/a/../c"],
)  # fmt: skip
def test_invalid_addresses_are_refused(settings: Settings, url: str) -> None:
    assert unusable(settings, blobs_url=url).startswith("BLOBS_URL: ")


def test_the_address_of_a_bucket_is_parsed() -> None:
    address = BucketAddress.parse("s3://b/x/y?endpoint=https://s3.example.com/&region=eu")
    assert address == BucketAddress("b", "x/y", "https://s3.example.com", "eu")
    assert str(address) == "bucket b/x/y at https://s3.example.com"
    assert BucketAddress.parse("s3://b").prefix == ""


def test_half_of_an_access_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.delenv("BLOBS_URL", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert load_settings().blobs_url is None, "another program's variable is none of our business"
    monkeypatch.setenv("BLOBS_URL", "s3://bucket")
    with pytest.raises(SettingsError, match="go together"):
        load_settings()


def test_credentials_are_read_from_the_shared_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert shared_credentials() is None
    path.write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = a%b\n"
        "[other]\naws_access_key_id = two\naws_secret_access_key = c\naws_session_token = d\n"
    )
    found = shared_credentials()
    assert found is not None
    assert (found.key_id, found.secret, found.token) == ("one", "a%b", None)
    assert "a%b" not in repr(found)
    monkeypatch.setenv("AWS_PROFILE", "other")
    found = shared_credentials()
    assert found is not None
    assert (found.key_id, found.token) == ("two", "d")


# --- the cache ---


def test_the_cache_is_bounded_and_survives_a_restart(tmp_path: Path) -> None:
    fetched: list[int] = []

    def fetch(number: int) -> bytes:
        fetched.append(number)
        return bytes([number]) * (BLOCK if number < 9 else 100 if number == 9 else 0)

    cache = BlockCache(tmp_path / "cache", 3 * BLOCK)
    for number in range(5):
        assert cache.read("blob", number * BLOCK, 1, fetch) == bytes([number])
    files = [each.size for each in FileBlobs(tmp_path / "cache").list("")]
    assert sum(files) == cache.size == 3 * BLOCK
    again = BlockCache(tmp_path / "cache", 3 * BLOCK)
    fetched.clear()
    assert again.read("blob", 3 * BLOCK, BLOCK + 1, fetch) == b"\3" * BLOCK + b"\4"
    assert fetched == []
    assert again.read("blob", 9 * BLOCK + 98, 9, fetch) == b"\x09\x09"
    (tmp_path / "cache" / "blob@9").unlink()
    assert again.read("blob", 9 * BLOCK + 98, 9, fetch) == b"\x09\x09"
    assert fetched == [9, 9]
    again.forget("blob")
    assert again.size == 0
    assert list(FileBlobs(tmp_path / "cache").list("")) == []


def test_objects_are_read_even_if_the_cache_has_no_room(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", 0)
    assert cache.read("blob", 2, 2, lambda number: b"abcdef" if not number else b"") == b"cd"
    assert not (tmp_path / "cache").exists()


def test_an_error_of_a_service_is_an_os_error(blobs: ObjectBlobs) -> None:
    assert issubclass(BucketError, OSError)
    assert str(blobs).startswith("bucket loop-data/")


def test_a_cached_block_that_a_power_failure_has_emptied_is_fetched_again(tmp_path: Path) -> None:
    def fetch(number: int) -> bytes:
        return b"abc" if not number else b""

    assert BlockCache(tmp_path / "cache", BLOCK).read("blob", 0, 9, fetch) == b"abc"
    (tmp_path / "cache" / "blob@0").write_bytes(b"")
    assert BlockCache(tmp_path / "cache", BLOCK).read("blob", 0, 9, fetch) == b"abc"
