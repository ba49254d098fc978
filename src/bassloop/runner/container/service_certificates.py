"""Certificates for the services of one call, and how a container comes to trust them.

The authority that signs them exists as long as the call: nobody else trusts it, and nothing of it is stored.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import trustme

from bassloop.runner.container.container_engine import ContainerEngine, EngineError
from bassloop.runner.container.spec import LABEL
from bassloop.runner.engine.layout import normalized
from bassloop.runner.engine.mounts import BindMount, MountSupport

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.wire import bass_pb2 as pb

HOST = "localhost"
"""Where services are reached: they and their users share one network of their own."""
ADDRESSES = (HOST, "127.0.0.1", "::1")
LIFE = timedelta(days=7)
CLOCK_SKEW = timedelta(minutes=10)

BUNDLE = "/bass/certs/bundle.pem"
AUTHORITY = "/bass/certs/ca.pem"
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems have the certificates that they trust."""
MAX_BUNDLE = 4 << 20
"""Bytes; a larger file of a stranger's image is no bundle."""
TRUST_VARIABLES = {
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "NODE_EXTRA_CA_CERTS": AUTHORITY,
}
"""Tell programs that don't read the system's bundle."""


class CertificateAuthority:
    """Signs the certificates of one call's services."""

    @cached_property
    def _ca(self) -> trustme.CA:
        return trustme.CA(organization_name="bassloop runner, one call")

    @property
    def certificate(self) -> bytes:
        """Its own certificate in PEM."""
        return self._ca.cert_pem.bytes()

    def mounts_for(self, thunk: pb.Thunk, folder: Path, support: MountSupport) -> list[BindMount]:
        """Return a service's certificate and key, mounted where it wants them. Raises DriverError.

        Args:
            folder: a private folder for the files.
        """
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(*ADDRESSES, not_before=now - CLOCK_SKEW, not_after=now + LIFE)
        certificate = b"".join(each.bytes() for each in issued.cert_chain_pems)
        mounts = []
        for name, path, content in (
            ("cert", thunk.tls.cert.path, certificate),
            ("key", thunk.tls.key.path, issued.private_key_pem.bytes()),
        ):
            what = f"the TLS {name}"
            target = support.target(normalized(path, what), what)
            source = folder / f"tls-{name}"
            source.touch(mode=0o600)
            source.write_bytes(content)
            mounts.append(BindMount(source, target))
        return mounts


async def trust_mounts(
    engine: ContainerEngine, image: str, prefix: str, owner: str, authority: bytes, folder: Path
) -> list[BindMount]:
    """Return the image's certificate bundles with one more authority in them, mounted in their places.

    Raises EngineError, OSError.

    Args:
        prefix: begins the names of this runner's containers.
        owner: the value of their label.
    """
    found = await _bundles(engine, image, prefix, owner, folder)
    first = next(iter(found.values()), b"")
    mounts = [
        _mount(folder / "ca.pem", authority, AUTHORITY),
        _mount(folder / "bundle.pem", _with(first, authority), BUNDLE),
    ]
    for number, (path, content) in enumerate(found.items()):
        mounts.append(_mount(folder / f"bundle-{number}.pem", _with(content, authority), path))
    return mounts


def _with(bundle: bytes, authority: bytes) -> bytes:
    return bundle.rstrip(b"\n") + b"\n" + authority if bundle else authority


def _mount(source: Path, content: bytes, target: str) -> BindMount:
    source.write_bytes(content)
    return BindMount(source, target, read_only=True)


async def _bundles(
    engine: ContainerEngine, image: str, prefix: str, owner: str, folder: Path
) -> dict[str, bytes]:
    """Return the bundles in an image, by their paths."""
    name = f"{prefix}-look-{secrets.token_hex(8)}"
    words = ["create", "--name", name, "--label", f"{LABEL}={owner}", "--pull=never"]
    found = {}
    try:
        await engine.ask(*words, "--entrypoint", "true", image)
        for path in BUNDLES:
            target = folder / f"found-{secrets.token_hex(4)}"
            try:
                await engine.ask("cp", f"{name}:{path}", str(target))
            except EngineError:
                continue
            is_file = target.is_file() and not target.is_symlink()
            if is_file and target.stat().st_size <= MAX_BUNDLE:
                found[path] = target.read_bytes()
    finally:
        await engine.remove_container(name)
    return found
