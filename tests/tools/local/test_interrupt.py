"""An interrupt ends a script, also where Python loses its KeyboardInterrupt."""

from __future__ import annotations

import os
import signal

import pytest

from bassloop.tools.local import trio_loop
from bassloop.tools.local.driver import Interrupted, LateDriver


class InterruptsWhenCollected:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_forgets_ends_the_script_at_its_next_checkpoint() -> None:
    driver = LateDriver(lambda: trio_loop)
    before = signal.getsignal(signal.SIGINT)

    async def script() -> str:
        collected = InterruptsWhenCollected()
        del collected
        await driver.checkpoint()
        return "not interrupted"

    with pytest.raises(Interrupted):
        driver.run(script())
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_is_raised_at_once_where_it_can_be() -> None:
    driver = LateDriver(lambda: trio_loop)

    async def script() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        driver.run(script())
