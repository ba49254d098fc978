"""A stand-in for github.com over a local Git repository, for `bassloop try` and the tests.

Real HTTP on loopback: one repository, its people, one App; it refuses what GitHub would refuse::

    standin = StandIn(repository_path=path, owner="octocat", name="hello", login="octocat",
                      keys=[public_key], app_key=public_pem, webhook_secret="s3cret")
    api_url = await nursery.start(serve_standin, standin)
    await standin.deliver(loop_url, "push", await standin.payload("push"))
    standin.check_runs      # what was made of it, in GitHub's shape

More people come with `add_user` (for a fork's pull request, say), a bad day with `faults`, and the
repository can be cloned from the `clone_url` of its payloads.
"""

from __future__ import annotations

from bassloop.standin.faults import Fault, garbage, lost_answer, secondary_limit
from bassloop.standin.server import serve_standin
from bassloop.standin.standin import Account, Attempt, Delivered, StandIn, StandInError

__all__ = [
    "Account",
    "Attempt",
    "Delivered",
    "Fault",
    "StandIn",
    "StandInError",
    "garbage",
    "lost_answer",
    "secondary_limit",
    "serve_standin",
]
