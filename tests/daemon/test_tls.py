"""A new certificate is used for new connections, and existing ones continue."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from cryptography import x509

from bassloop.daemon import StartError
from bassloop.daemon.http_server import Certificate, bind, serve_http

from .certificates import write_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says yes to every request."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    headers = [(b"content-length", b"3")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"yes"})


@asynccontextmanager
async def served(certificate: Certificate) -> AsyncGenerator[int]:
    """The application behind TLS; its port."""
    over, listening = trio.Event(), bind("127.0.0.1:0", "LISTEN")
    port = listening.getsockname()[1]
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, app, listening, over, certificate)
            yield port
            over.set()


async def connected(port: int) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
    await stream.do_handshake()
    return stream


def certificate_subject(stream: trio.SSLStream[trio.SocketStream]) -> str:
    """Return the subject of the certificate that a server shows."""
    der = stream.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


async def request_over(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nyes"):
        piece = await stream.receive_some()
        assert piece, answer
        answer += piece
    return answer


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write_certificate(chain, key, "old")
    return chain, key


async def test_a_reload_replaces_the_certificate_and_keeps_existing_connections(
    files: tuple[Path, Path],
) -> None:
    certificate = Certificate(*files)
    async with served(certificate) as port, await connected(port) as before:
        assert await request_over(before)
        write_certificate(*files, "new")
        certificate.reload()
        async with await connected(port) as after:
            assert (certificate_subject(before), certificate_subject(after)) == ("CN=old", "CN=new")
            assert await request_over(after)
        assert await request_over(before)


async def test_the_old_certificate_stays_if_the_new_one_is_unusable(
    files: tuple[Path, Path],
) -> None:
    certificate = Certificate(*files)
    async with served(certificate) as port:
        files[1].write_text("no key")
        with pytest.raises(StartError, match="TLS_CERT_PATH, TLS_KEY_PATH: "):
            certificate.reload()
        async with await connected(port) as stream:
            assert certificate_subject(stream) == "CN=old"


def test_a_key_that_does_not_match_the_certificate_is_reported(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    write_certificate(tmp_path / "other.pem", files[1], "other")
    with pytest.raises(StartError, match="key values mismatch"):
        Certificate(*files)


def test_a_missing_file_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"TLS_KEY_PATH: can't read .*none\.pem: No such file"):
        Certificate(files[0], tmp_path / "none.pem")


async def test_a_file_that_disappears_during_a_reload_leaves_the_old_content(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    certificate = Certificate(*files)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ssl.SSLContext, "load_cert_chain", gone)
        with pytest.raises(StartError, match=r"No such file or directory"):
            certificate.reload()
