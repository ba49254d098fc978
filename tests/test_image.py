"""The container: built, run with as little as can be, asked how it is, and stopped."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

ROOT = Path(__file__).parents[1]
PODMAN = ["podman", *shlex.split(os.environ.get("PODMAN_OPTIONS", ""))]
TAG = "localhost/bassloop-test"


def podman(*arguments: str, check: bool = True) -> str:
    """Run Podman, and return its output."""
    done = subprocess.run(
        [*PODMAN, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    base = os.environ.get("IMAGE_BASE")
    options = shlex.split(os.environ.get("BUILD_OPTIONS", ""))
    argument = ["--build-arg", f"BASE={base}"] if base else []
    podman("build", "--quiet", "--format=docker", *options, *argument, "--tag", TAG, ".")
    return TAG


@pytest.mark.timeout(1200)
def test_the_image_serves_as_nobody_on_a_read_only_disk(image: str) -> None:
    where = ["--env=LISTEN=127.0.0.1:18473", "--env=SSH_ADDR=127.0.0.1:18474", "--network=host"]
    confined = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--no-healthcheck"]
    name = podman("run", "--detach", *confined, *limits, *where, image)
    try:
        give_up = time.monotonic() + 120
        while (
            podman("exec", name, "bassloop", "status", "--json", check=False).find('"ready": true')
            < 0
        ):
            assert time.monotonic() < give_up, podman("logs", name)
            time.sleep(0.5)
        assert podman("exec", name, "id", "-u") == "10001"
        podman("stop", "--time=60", name)
        assert podman("inspect", "--format={{.State.ExitCode}}", name) == "0"
    finally:
        podman("rm", "--force", name)


def test_the_images_health_check_asks_whether_it_answers(image: str) -> None:
    said = podman("inspect", "--format={{json .HealthCheck.Test}}", image)
    assert said == '["CMD","bassloop","status","--up"]'
