"""Makes a container trust the authority of its call, beside those that its image trusts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bassloop.runner.container.engine import ContainerEngine, EngineError
from bassloop.runner.container.spec import LABEL, BindMount

if TYPE_CHECKING:
    from pathlib import Path

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
VARIABLES = {
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "NODE_EXTRA_CA_CERTS": AUTHORITY,
}
"""What tells programs that look elsewhere."""


async def trusting(
    engine: ContainerEngine, image: str, prefix: str, owner: str, authority: bytes, folder: Path
) -> list[BindMount]:
    """The image's bundles of certificates, with one more in them. Raises EngineError, OSError.

    Args:
        prefix: what the names of this runner's containers begin with.
        owner: their label's value.
    """
    found = await _bundles(engine, image, prefix, owner, folder)
    first = next(iter(found.values()), b"")
    binds = [
        _bind(folder / "ca.pem", authority, AUTHORITY),
        _bind(folder / "bundle.pem", _with(first, authority), BUNDLE),
    ]
    for number, (path, content) in enumerate(found.items()):
        binds.append(_bind(folder / f"bundle-{number}.pem", _with(content, authority), path))
    return binds


def _with(bundle: bytes, authority: bytes) -> bytes:
    return bundle.rstrip(b"\n") + b"\n" + authority if bundle else authority


def _bind(source: Path, content: bytes, target: str) -> BindMount:
    source.write_bytes(content)
    return BindMount(source, target, read_only=True)


async def _bundles(
    engine: ContainerEngine, image: str, prefix: str, owner: str, folder: Path
) -> dict[str, bytes]:
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
        await engine.try_remove(name)
    return found
