"""A stand-in for github.com over a local Git repository, for `bassloop try` and the tests.

Real HTTP on loopback, one user, one repository, one App; it refuses what GitHub would refuse::

    standin = StandIn(repository_path=path, owner="octocat", name="hello", login="octocat",
                      keys=[public_key], app_key=public_pem, webhook_secret="s3cret")
    api_url = await nursery.start(serve_standin, standin)
    await standin.deliver(loop_url, "push", await standin.payload("push"))
    standin.check_runs      # what was made of it
"""

from __future__ import annotations

from bassloop.standin.server import serve_standin
from bassloop.standin.standin import Delivered, StandIn, StandInError

__all__ = ["Delivered", "StandIn", "StandInError", "serve_standin"]
