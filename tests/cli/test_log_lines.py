"""The log lines of a command."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from bassloop.cli.options import configure_logs

if TYPE_CHECKING:
    import pytest


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


def log_lost_peer() -> None:
    """Log what asyncio and grpclib do when a peer disappears."""
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        logging.getLogger("grpclib.server").exception("Failed to handle cancellation")
        logging.getLogger("grpclib.server").exception("Application error")


def test_a_lost_peer_is_no_error_of_a_library(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning")
    log_lost_peer()
    assert printed(capsys) == ["Application error"]


def test_with_debug_all_that_libraries_log_about_a_lost_peer_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("debug")
    log_lost_peer()
    assert len(printed(capsys)) == 3
