"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tests.repositories import make_repository

__all__ = ["make_repository"]

if TYPE_CHECKING:
    import pytest

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.processors.KeyValueRenderer()]
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "openssh: needs the stock OpenSSH client (nox -s openssh)",
        "audit: needs ssh-audit (nox -s audit)",
        "browser: needs Chromium and Playwright (nox -s browser)",
        "containers: needs Podman or Docker, and busybox-static (nox -s containers)",
        "published: needs GitHub's published examples (nox -s published)",
        "systemd: needs systemd-analyze and strace (nox -s systemd)",
        "mounts: needs a file system of its own (nox -s disk)",
        "image: builds the container with Podman (nox -s image)",
        "slow: takes minutes (nox -s slow)",
        "attacks: measures a daemon under attack (nox -s attacks)",
    ):
        config.addinivalue_line("markers", marker)
