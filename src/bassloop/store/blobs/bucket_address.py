"""The address of a bucket, as in the setting BLOBS_URL, and its credentials. Reads only the credentials file."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

DEFAULT_REGION = "us-east-1"

EXAMPLE = "s3://bucket/prefix?endpoint=https://s3.example.com"


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket, and the prefix of the names of all blobs in it.

    Args:
        endpoint: the URL of the service, to which the bucket is added as a path; None for Amazon S3.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str

    @classmethod
    def parse(cls, url: str) -> BucketAddress:
        """Parse a URL like EXAMPLE. Raises ValueError with the problem."""
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
            raise ValueError(f"it must be the address of a bucket, such as {EXAMPLE}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(options.keys() - {"endpoint", "region"}):
            raise ValueError(f"unknown option {unknown[0]}; there are endpoint and region")
        endpoint = options.get("endpoint", "").rstrip("/") or None
        if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
            raise ValueError(
                "endpoint must be the URL of a service, such as https://s3.example.com"
            )
        prefix = parts.path.strip("/")
        if any(each in ("", ".", "..") for each in prefix.split("/")) and prefix:
            raise ValueError(f"{prefix!r} can't be the prefix of names")
        region = options.get("region") or os.environ.get("AWS_REGION") or DEFAULT_REGION
        return cls(parts.netloc, prefix, endpoint, region)

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"bucket {self.bucket}{f'/{self.prefix}' if self.prefix else ''}{at}"


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """An access key."""

    key_id: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"<BucketCredentials {self.key_id}>"


def shared_credentials() -> BucketCredentials | None:
    """Return the credentials from the AWS tools' shared credentials file, or None if there are none.

    As with those tools, `AWS_SHARED_CREDENTIALS_FILE` and `AWS_PROFILE` select the file and the profile.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws/credentials")
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        parser.read_string(path.read_text())
        profile = parser[os.environ.get("AWS_PROFILE") or "default"]
        return BucketCredentials(
            profile["aws_access_key_id"],
            profile["aws_secret_access_key"],
            profile.get("aws_session_token"),
        )
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        return None
