"""An S3 server in this process, with a bucket. Its users need the mark `IGNORES_DEPRECATION`."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "loop-data"
KEYS = {"aws_access_key_id": "ours", "aws_secret_access_key": "secret"}
SETTINGS = {name.upper(): value for name, value in KEYS.items()}
"""The daemon's credentials for the bucket."""

IGNORES_DEPRECATION = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""moto uses what Python 3.12 deprecated."""


@contextmanager
def serve_bucket(port: int = 0) -> Iterator[tuple[str, int]]:
    """Serve an empty bucket on this port, or on one that is free, and yield the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        s3 = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **KEYS
        )
        s3.create_bucket(Bucket=BUCKET)
        yield host, port
    finally:
        server.stop()


def bucket_url(host: str, port: int) -> str:
    """Return the setting `BLOBS_URL` for the bucket at this address."""
    return f"s3://{BUCKET}?endpoint=http://{host}:{port}"
