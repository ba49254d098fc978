"""`bassloop mcp`: a server for agents."""

from __future__ import annotations

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_settings


@click.command("mcp")
@click.option("--url", metavar="URL", help="The loop's address (default: this machine's).")
def mcp(url: str | None) -> None:
    """Let an agent ask a loop: runs, failures, logs, searches, tests, and to run a check again.

    It speaks the Model Context Protocol on standard input and output, and may do what you may: see `bassloop login`. It
    needs the extra mcp: pipx install '.[mcp]'.

    \b
    Example (in the settings of an agent):
      {"mcpServers": {"ci": {"command": "bassloop", "args": ["mcp", "--url", "https://loop.example.com"]}}}
    """
    import trio

    from bassloop import __version__
    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.local_daemon import daemon_address
    from bassloop.tools.loop_client import LoopClient

    try:
        from bassloop.tools.agent_server import agent_server
    except ImportError as error:
        raise click.ClickException(
            f"the extra mcp is not installed ({error}): pipx install '.[mcp]'"
        ) from error
    address = (url or daemon_address(read_settings())).rstrip("/")
    with report_errors(SignInError, ValueError):
        headers = session_headers(address)
    trio.run(agent_server(LoopClient(address, headers), __version__).run_stdio_async)
