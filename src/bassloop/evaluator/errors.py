"""The errors of evaluating a hook."""

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
