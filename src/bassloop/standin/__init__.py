"""A stand-in for github.com over a local Git repository, for `bassloop try` and the tests.

It serves real HTTP on loopback, has one repository, its people and one App, and refuses what GitHub would refuse::

    standin = StandIn(repository_path=path, owner="octocat", name="hello", login="octocat",
                      keys=[public_key], app_key=public_pem, webhook_secret="s3cret")
    api_url = await nursery.start(serve_standin, standin)
    await standin.deliver(loop_url, "push", await standin.payload("push"))
    standin.check_runs      # in GitHub's shape

`add_user` adds people, such as the author of a fork's pull request. `faults` cause errors on demand. The repository can
be cloned from the `clone_url` of its payloads.
"""

from __future__ import annotations

from bassloop.standin.faults import Fault, garbage, lost_answer, secondary_limit
from bassloop.standin.standin import Delivered, StandIn
from bassloop.standin.standin_server import serve_standin
from bassloop.standin.state import Account, LoggedAttempt, StandInError

__all__ = [
    "Account",
    "Delivered",
    "Fault",
    "LoggedAttempt",
    "StandIn",
    "StandInError",
    "garbage",
    "lost_answer",
    "secondary_limit",
    "serve_standin",
]
