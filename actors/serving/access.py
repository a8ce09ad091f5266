"""Who may call the routes: FastAPI dependencies, so that no path and no prefix can avoid them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from actors.serving.errors import ApiError
from actors.serving.keys import ANONYMOUS, Keyring
from deepprune.serve_config import is_loopback

_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="A key of the endpoint.")


class Access:
    """Lets in whoever sends a key. Without keys, only clients on this machine are let in."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def check_place(self, request: Request) -> None:
        """Without keys, refuse clients of other machines; a dependency of every route.

        Raises:
            ApiError: 403.
        """
        if not self._keys and not _is_local(request):
            message = "This server has no API keys, and serves the machine it runs on only."
            raise ApiError(403, message, code="forbidden")

    def check_key(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> None:
        """Refuse clients without a key; a dependency of every route under `/v1` and `/metrics`.

        Sets `request.state.owner`, which names the key without revealing it.

        Raises:
            ApiError: 401.
        """
        request.state.log["key"] = ANONYMOUS
        owner = self._keys.owner(request.headers.get("authorization"))
        if owner is None:
            message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, message, code="invalid_api_key", headers=headers)
        request.state.owner = request.state.log["key"] = owner


def _owner(request: Request) -> str:
    owner: str = request.state.owner
    return owner


Owner = Annotated[str, Depends(_owner)]
"""The owner of the key of a request; see `Access.check_key`."""


def _is_local(request: Request) -> bool:
    """Whether the client is on this machine, and is no foreign site's page in a browser on it."""
    headers = request.headers
    addressed = [f"//{headers.get('host', '')}", headers.get("origin") or "//localhost"]
    client = request.client.host if request.client else ""
    return all(map(is_loopback, [client, *map(_host, addressed)]))


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
