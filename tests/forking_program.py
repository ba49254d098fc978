"""`python -m tests.forking_program`: `bassloop`, imported once, which forks a process for each command that it's sent.

A daemon takes more than a second of processor time to import what it uses, and to compile its templates and rules. A
forked process has them already, and is the program in all else: it has its own arguments, environment, folder, streams,
and default signal handlers. Only what Python itself reads when it starts has no effect, such as the variable
PYTHONUNBUFFERED.

Standard input is a socket. Each message there brings four file descriptors: the three standard streams, and a socket
that the process reads its command from, as JSON. There, the test gets the process's id and a pidfd, and its exit status
when it has ended. `tests/forked_programs.py` is the other end.

Before it imports `bassloop`, it forks a process that has imported only what a fork server has, and forks one for each
daemon, in the same way.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from functools import partial

from bassloop.evaluator import fork_server

LONGEST_COMMAND = 128 << 10
"""Bytes of a command with its environment."""

USED_LATER = (
    "bassloop.daemon.serve",
    "bassloop.runner",
    "bassloop.tools.device_login",
    "bassloop.tools.local.script",
    "bassloop.tools.local_daemon",
    "bassloop.tools.log_feed",
    "bassloop.tools.loop_client",
    "bassloop.tools.rerun",
    "bassloop.tools.trial",
    "bassloop.tools.verification",
)
"""What commands import when they're called."""


@dataclass
class _Running:
    """A forked process that hasn't been waited for, and the socket where its end is reported."""

    pid: int
    report: socket.socket


def main() -> None:
    """Serve, and in each forked process, run the program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the tests ends this, too
    with socket.socket(fileno=os.dup(0)) as control:
        fork_servers = _fork_fork_servers(control)
        _import_everything()
        streams = _fork_processes(control)
    if streams is not None:
        _become(*streams)
        _fork_its_fork_servers(fork_servers)
        runpy.run_module("bassloop", run_name="__main__", alter_sys=True)


def _fork_fork_servers(control: socket.socket) -> socket.socket:
    """Fork the process that forks fork servers. Return its socket. It ends when nobody has that any more."""
    fork_server.warm()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        if os.fork():
            return ours
        ours.close()
        control.close()
        streams = _fork_processes(theirs)
    if streams is not None:
        _become(*streams)
        os.setpgid(0, 0)
        fork_server.main()
    sys.exit()


def _import_everything() -> None:
    # Not before: a fork server's processes would have it all in their memory.
    cli = importlib.import_module("bassloop.cli")
    with importlib.import_module("bassloop.cli.options").quick_imports():
        for entry in cli.COMMANDS.values():
            importlib.import_module(f"bassloop.cli.{entry.module}")
        for name in USED_LATER:
            importlib.import_module(name)
        importlib.import_module("bassloop.web.app").compile_templates()
    importlib.import_module("bassloop.failures").find_failures(())  # compiles the rules
    importlib.import_module("tests.fork_servers")
    gc.freeze()


def _fork_its_fork_servers(control: socket.socket) -> None:
    """Have a daemon in this process, or a trial, use fork servers that are forked."""
    evaluators = importlib.import_module("bassloop.evaluator.evaluators").Evaluators
    run_server = partial(importlib.import_module("tests.fork_servers").run_forked_server, control)
    wiring = vars(importlib.import_module("bassloop.daemon.wiring"))
    wiring["Evaluators"] = partial(evaluators, run_server=run_server)


def _fork_processes(control: socket.socket) -> list[int] | None:
    """Fork processes until the socket is closed. Return their file descriptors in each of them, and then None."""
    running: dict[int, _Running] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != control.fileno():
                    selector.unregister(key.fd)
                    _report_end(key.fd, running.pop(key.fd))
                    continue
                message, streams, _, _ = socket.recv_fds(control, 1, 4)
                if not message:
                    return None
                pid = os.fork()
                if not pid:
                    for pidfd, other in running.items():
                        os.close(pidfd)
                        other.report.close()
                    return streams
                *standard, command = streams
                for each in standard:
                    os.close(each)
                report, pidfd = socket.socket(fileno=command), os.pidfd_open(pid)
                socket.send_fds(report, [b"%d" % pid], [pidfd])
                running[pidfd] = _Running(pid, report)
                selector.register(pidfd, selectors.EVENT_READ)


def _report_end(pidfd: int, ended: _Running) -> None:
    os.close(pidfd)
    _, status = os.waitpid(ended.pid, 0)
    with ended.report:
        try:
            ended.report.send(b"%d" % os.waitstatus_to_exitcode(status))
        except ConnectionError:
            pass  # the test is over, and nobody waits


def _become(stdin: int, stdout: int, stderr: int, command: int) -> None:
    """Turn this process into one that was started with the streams, and with the command from the socket."""
    for standard, given in enumerate((stdin, stdout, stderr)):
        os.dup2(given, standard)
        os.close(given)
    # Python's own streams remember what they were opened on, such as whether it's seekable.
    sys.stdin = open(0, errors=sys.stdin.errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors=sys.stderr.errors, closefd=False)  # noqa: SIM115
    with socket.socket(fileno=command) as channel:
        message = json.loads(channel.recv(LONGEST_COMMAND))
    sys.argv = ["bassloop", *message["arguments"]]
    os.environ.clear()
    os.environ.update(message["environment"])
    os.chdir(message["folder"])
    tempfile.tempdir = None  # where temporary files go is remembered when it's first asked for
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    main()
