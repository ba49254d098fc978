"""`bassloop try` with a container engine: commands reach the stand-in's repository from their own network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import run_command

if TYPE_CHECKING:
    from bassloop.runner.container.container_engine import ContainerEngine
    from tests.repositories import MakeRepository

pytestmark = pytest.mark.containers

HOOK = """
(defn github-hook [{:payload {:repository {:clone_url url} :check_suite {:head_sha sha}}} client]
  (client:start-check
    (from (linux/localhost/base :bassloop-tests)
      ($ wget -q -O refs (str url "/info/refs?service=git-upload-pack"))
      ($ grep -a -o "refs/heads/main" refs))
    "fetch" sha))
"""


def test_a_container_can_check_the_repository_out(
    make_repository: MakeRepository, engine: ContainerEngine
) -> None:
    path = make_repository(**{"project.bass": HOOK})
    done = run_command("try", "--engine", engine.kind, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetch │ refs/heads/main\n" in done.stdout
