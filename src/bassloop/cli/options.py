"""Options that several commands share, and their types."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import report_errors
from bassloop.interrupts import QuietInterrupts
from bassloop.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.settings import Settings
    from bassloop.tools.loop_client import RunAddress


LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LOST_PEERS = frozenset(
    {
        ("asyncio", "socket.send() raised exception."),
        ("grpclib.server", "Failed to handle cancellation"),
    }
)
"""Loggers of libraries, and what they log, in part with a traceback, when a peer disappears. We report that, too."""


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # generic in new versions only
    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value)
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Quantity("duration", parse_duration)
"""Seconds, from a text such as `30d`."""

SIZE = _Quantity("size", parse_size)
"""Bytes, from a text such as `10GB`."""

FOLDER = click.Path(path_type=Path, file_okay=False)

data_dir_option = click.option(
    "--data-dir", type=FOLDER, help="The daemon's data directory (setting DATA_DIR)."
)
json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object per line."
)


@contextmanager
def quick_imports(before_exit: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Make imports faster: a large part of the program takes three quarters of the time.

    Garbage collection is off, since imports leave no garbage, and later collections skip what they imported. Pydantic
    doesn't search all installed packages for plugins. And structlog and httpx don't import Colorama, Rich and Pygments,
    which they use only for Windows, tracebacks and a command line.

    Args:
        before_exit: called if Ctrl-C ends the program meanwhile.
    """
    hidden = [name for name in ("colorama", "pygments", "rich") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    plugins = os.environ.get("PYDANTIC_DISABLE_PLUGINS")
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = plugins or "__all__"
    gc.disable()
    try:
        with QuietInterrupts(before_exit):
            yield
    finally:
        gc.freeze()
        gc.enable()
        if plugins is None:
            del os.environ["PYDANTIC_DISABLE_PLUGINS"]
        for name in hidden:
            del sys.modules[name]


def read_settings(**overrides: object) -> Settings:
    """Return the settings, or exit with a message about invalid ones."""
    from bassloop.settings import SettingsError
    from bassloop.settings_reader import load_settings

    with report_errors(SettingsError):
        return load_settings(**overrides)


def find_settings(**overrides: object) -> Settings:
    """Return the settings of the daemon on this machine, or exit with a message.

    If the settings don't say where the data is, and there is none in the default folder, use those of the running
    daemon.
    """
    settings = read_settings(**overrides)
    if isinstance(settings.database, str) or settings.database.is_file():
        return settings
    from bassloop.tools.local_daemon import LOCATION_SETTINGS, running_daemons

    if settings.model_fields_set & set(LOCATION_SETTINGS):
        return settings
    daemons = running_daemons()
    if len(daemons) > 1:
        folders = "".join(f"\n  --data-dir {each['data_dir']}" for each in daemons)
        raise click.ClickException(
            f"{len(daemons)} daemons run here; say which one is meant:{folders}"
        )
    return read_settings(**{**overrides, **daemons[0]}) if daemons else settings


def read_site(url: str, *, hint: str = "URL") -> str:
    """Return the scheme, host and port of a loop's address, or exit with a message."""
    from bassloop.tools.device_login import site_of

    try:
        return site_of(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=hint) from error


def read_run_address(run: str, url: str | None, *, hint: str = "RUN") -> RunAddress:
    """Return the run that an argument names, or exit with a message.

    An id refers to a run of the loop at `url`. Without `url`, it's one of the daemon on this machine.
    """
    from bassloop.tools.loop_client import parse_run_address

    server = url or ""
    if url:
        read_site(url, hint="--url")
    elif "/" not in run:
        from bassloop.tools.local_daemon import daemon_address

        server = daemon_address(find_settings())
    try:
        return parse_run_address(run, server)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=hint) from error


def configure_logs(level: str, *, without: str | None = None) -> None:
    """Write log lines, ours and the libraries', to standard error.

    Args:
        without: leave out lines with this text in their event or error, because the command itself reports it.
    """
    import structlog  # slow, because it imports Rich

    stream = sys.stderr
    number = LEVELS.get(level.lower(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if stream.isatty():
        last: list[structlog.typing.Processor] = [
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]

    def leave_out(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if without is not None and without in f"{event['event']}\n{event.get('error', '')}":
            raise structlog.DropEvent
        return event

    structlog.configure(
        processors=[leave_out, *shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    if number > logging.DEBUG:
        handler.addFilter(lambda record: (record.name, record.msg) not in LOST_PEERS)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
