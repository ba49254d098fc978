"""Bass on the command line: scripts with the rights of whoever calls them, thunks run by a driver in this process.

    driver = LateDriver()
    host = LocalHost(driver, RuntimeOptions())
    session = Session(host, driver)
    value = driver.run(session.evaluate(source, "script.bass", HostPath(".")))

No event loop is there, and none is imported, until a script wants something that has to be waited for.
"""

from __future__ import annotations

from bassloop.tools.local.driver import LateDriver
from bassloop.tools.local.host import LocalHost

__all__ = ["LateDriver", "LocalHost"]
