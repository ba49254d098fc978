"""The errors with which the evaluation of a hook can end."""

from __future__ import annotations


class EvaluationError(Exception):
    """A hook was not evaluated to its end."""


class HookFailed(EvaluationError):
    """The script failed. The message is one for people; `report` has the lines of source and the trace."""

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
    """The hook's process ended in a way that it should not. The message says how."""


class EvaluatorLost(EvaluationError):
    """The fork server died, and the hook's process with it. Another attempt may succeed."""


class HostRefusal(Exception):
    """A host's refusal of a call, for a reason that the script may learn."""


class ProtocolError(Exception):
    """The other side has sent what it must not send."""
