"""Keep Ctrl-C quiet while the program imports itself.

Python's own handler raises KeyboardInterrupt in the middle of an import. The module that imports may swallow it, and
otherwise its traceback is printed. Imports leave nothing to clean up, so Ctrl-C may end the program at once. The
program begins with this module, so it imports as little as possible.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has ended."""


class QuietInterrupts:
    """While this is entered, Ctrl-C ends the program at once, with status 130 and without a message.

    If something else handles or ignores Ctrl-C already, that stays so.

    Args:
        before_exit: called by the signal's handler, such as to restore the terminal.
    """

    def __init__(self, before_exit: Callable[[], None] = lambda: None) -> None:
        self._before_exit = before_exit

    def __enter__(self) -> None:
        self._replaced = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._replaced:
            try:
                signal.signal(signal.SIGINT, self._exit)
            except ValueError:  # only the main thread may do that
                self._replaced = False

    def __exit__(self, *exception: object) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _exit(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before_exit()
        finally:
            os._exit(INTERRUPTED)
