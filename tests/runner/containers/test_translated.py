"""What `bassloop init` makes of a workflow's steps runs in containers as it did on GitHub."""

from __future__ import annotations

import pytest

from bassloop.project.workflows.translation import translate_workflow
from bassloop.wire import bass_pb2 as pb

from ..made import after, string
from .conftest import BASE, Bench

pytestmark = pytest.mark.containers

WORKFLOW = """
on: push
jobs:
  t:
    runs-on: ubuntu-latest
    container: localhost/base:bassloop-tests
    steps:
      - run: echo "COLOUR=light blue" >> "$GITHUB_ENV"
      - run: |
          mkdir -p tool
          printf '#!/bin/sh\\necho tool ran\\n' > tool/mytool
          chmod +x tool/mytool
          echo "$PWD/tool" >> $GITHUB_PATH
      - run: echo "it is $COLOUR" && mytool
"""


async def test_variables_and_paths_reach_the_commands_after_them(bench: Bench) -> None:
    [check] = translate_workflow(WORKFLOW, ".github/workflows/t.yml").checks
    image = BASE
    for command in check.run:
        words = ["sh", "-ec", command] if isinstance(command, str) else list(command)
        thunk = pb.Thunk(image=image, args=[string(word) for word in words])
        image = after(thunk)
    assert await bench.said(thunk) == "it is light blue\ntool ran\n"
