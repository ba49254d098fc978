"""GitHub's responses, and who may get them: tokens, the App's JWTs, permissions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
from quart import Response, request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.standin.state import StandInState


DOCUMENTATION = "https://docs.github.com/rest"

LONGEST_JWT = 600
ANONYMOUS = "anonymous"
_LEVELS = {"read": 1, "write": 2, "admin": 3}


class CallRefused(Exception):
    """A call is refused; `response` is sent to the caller."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """Return the response."""
        body = {
            "message": str(self),
            "documentation_url": DOCUMENTATION,
            "status": str(self.status),
        }
        response = json_response(body, self.status)
        response.headers.update(self.headers)
        return response


def json_response(value: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    body = json.dumps(value).encode()
    return Response(body, status, content_type="application/json; charset=utf-8")


def page(items: Sequence[Any], key: str | None = None) -> Response:
    """Return the requested page of a list, with a Link header to the next."""
    size = min(max(request.args.get("per_page", 30, int), 1), 100)
    number = max(request.args.get("page", 1, int), 1)
    start = (number - 1) * size
    shown = list(items[start : start + size])
    response = json_response({"total_count": len(items), key: shown} if key else shown)
    if start + size < len(items):
        next_query = {**request.args, "per_page": size, "page": number + 1}
        link_next(response, f"{request.base_url}?{urlencode(next_query)}")
    return response


def link_next(response: Response, url: str) -> None:
    """Add the header with the URL of the next page."""
    response.headers["Link"] = f'<{url}>; rel="next"'


async def tagged(response: Response) -> Response:
    """Return a response with its ETag, or 304 without a body if the caller has it already."""
    if request.method != "GET" or response.status_code != 200:
        return response
    body: bytes = await response.get_data(as_text=False)
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        response = Response(b"", 304)
    response.headers["ETag"] = etag
    return response


async def json_body() -> dict[str, Any]:
    """Return the JSON object in a request. Refuses anything else."""
    body = await request.get_data(as_text=False)
    if not body:
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallRefused(400, "Problems parsing JSON") from error
    if not isinstance(data, dict):
        raise CallRefused(400, "Body should be a JSON object")
    return data


def identify(standin: StandInState) -> str:
    """Return the credential whose rate limit a call counts against. Refuses nothing."""
    secret = _secret()
    if secret in standin.tokens:
        return f"installation {standin.installation_id}"
    if secret in standin.sign_ins.tokens:
        return f"user {standin.sign_ins.tokens[secret]}"
    return "app" if secret.count(".") == 2 else ANONYMOUS


def require_app(standin: StandInState) -> None:
    """Refuse a call without a valid JWT of the App."""
    secret = _secret()
    if not secret:
        raise CallRefused(401, "A JSON web token could not be decoded")
    try:
        claims = jwt.decode(
            secret,
            standin.app_key,
            algorithms=["RS256"],
            options={"require": ["iat", "exp", "iss"], "verify_iat": False},
        )
    except jwt.ExpiredSignatureError as error:
        message = (
            "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        )
        raise CallRefused(401, f"{message} at which the assertion expires") from error
    except jwt.PyJWTError as error:
        raise CallRefused(401, "A JSON web token could not be decoded") from error
    now = time.time()
    if str(claims["iss"]) != str(standin.app_id):
        raise CallRefused(404, "Integration not found")
    if claims["iat"] > now:
        message = "'Issued at' claim ('iat') must be an Integer representing the time"
        raise CallRefused(401, f"{message} that the assertion was issued")
    if claims["exp"] > now + LONGEST_JWT + 1:
        raise CallRefused(401, "'Expiration time' claim ('exp') is too far in the future")


def require_user(standin: StandInState) -> str:
    """Refuse a call without a signed-in user's token. Returns their login."""
    login = standin.sign_ins.tokens.get(_secret())
    if login is None:
        raise CallRefused(401, "Requires authentication")
    return login


def require_installation(standin: StandInState) -> str:
    """Refuse a call without a token of the installation. Returns the token."""
    secret = _secret()
    _permissions(standin, secret)
    return secret


def require(
    standin: StandInState, owner: str, name: str, permission: str, level: str = "read"
) -> None:
    """Refuse what GitHub would: a wrong token, another repository, or a permission that wasn't granted.

    Anybody may read public resources.
    """
    secret = _secret()
    if not secret:
        if level != "read":
            raise CallRefused(401, "Requires authentication")
        if standin.private or not is_ours(standin, owner, name):
            raise CallRefused(404, "Not Found")
        return
    permissions = _permissions(standin, secret)
    if not is_ours(standin, owner, name):
        raise CallRefused(404, "Not Found")
    if _LEVELS.get(permissions.get(permission, ""), 0) < _LEVELS[level]:
        needed = {"X_Accepted_GitHub_Permissions": f"{permission}={level}"}
        raise CallRefused(403, "Resource not accessible by integration", **needed)


def require_clone(standin: StandInState, owner: str, name: str) -> None:
    """Refuse a clone that GitHub would refuse. A fork is treated like the repository itself."""
    forks = {
        (pull["head"].get("repo") or {}).get("full_name", "").lower() for pull in standin.pulls
    }
    ours = is_ours(standin, owner, name) or f"{owner}/{name}".lower() in forks
    secret = _secret()
    if secret:
        permissions = _permissions(standin, secret, www_authenticate='Basic realm="GitHub"')
        if not ours or (standin.private and "contents" not in permissions):
            raise CallRefused(404, "Repository not found.")
    elif standin.private or not ours:
        headers = {"WWW_Authenticate": 'Basic realm="GitHub"'}
        raise CallRefused(401, "Repository not found.", **headers)


def is_ours(standin: StandInState, owner: str, name: str) -> bool:
    """Return whether this is the repository's name. Case is ignored."""
    return f"{owner}/{name}".lower() == standin.full_name.lower()


def _permissions(standin: StandInState, secret: str, **headers: str) -> Mapping[str, str]:
    token = standin.tokens.get(secret)
    if token is None or token.expires_at < time.time():
        raise CallRefused(401, "Bad credentials", **headers)
    return token.permissions


def _secret() -> str:
    """Return the token or JWT of the call, sent as a bearer or as a password."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in ("token", "bearer"):
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return value
