"""Evaluates each hook in a process of its own, which can be killed.

    the daemon, with Trio          the fork server               a process for each hook
    evaluators.py
      server_process.py   <--->    fork_server.py    -- fork -->   hook_evaluation.py
      hook_process.py     <------------------------------------>     daemon_link.py, remote_host.py

The daemon starts the fork server as a program of its own, with nothing of the daemon's but one socket. It imports
the language, locks itself in (`confinement.py`), and forks a process for each hook. That process
evaluates the hook, and asks the daemon for everything else by messages (`messages.py`); the daemon
checks each of them (`conversation.py`). The kernel ends a process that takes too much processor time or memory; the
daemon ends it by closing its end of the socket.

The errors of evaluating a hook are below. This module imports nothing, so that the fork server holds the language, and
no more.
"""

from __future__ import annotations


class EvaluationError(Exception):
    """The base class: a hook wasn't evaluated to its end."""


class HookFailed(EvaluationError):
    """The script failed. The message is for people; `report` adds the lines of source and the trace."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report


class HookStopped(EvaluationError):
    """A limit ended the hook's process. The message names the limit, and the setting that raises it.

    Evaluating the hook again would end in the same way.
    """

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


class HookCrashed(EvaluationError):
    """The hook's process crashed. The message says how."""


class EvaluatorLost(EvaluationError):
    """The fork server died, and the hook's process with it. Another attempt may succeed."""


class HostRefusal(Exception):
    """The host refuses a call, for a reason that the script may see."""


class ProtocolError(Exception):
    """The other side has violated the protocol."""
