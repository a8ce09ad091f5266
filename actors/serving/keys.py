"""API keys: read once, compared in constant time, never logged."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable

from deepprune.errors import UserError
from deepprune.serve_config import HttpConfig

ANONYMOUS = "anybody"
"""Owner of requests where no key is needed."""


class Keyring:
    """Digests of the accepted keys; without any, no key is needed."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [*dict.fromkeys(_digest(key) for key in keys)]

    def __len__(self) -> int:
        """The number of keys; 0 where none is needed."""
        return len(self._digests)

    def owner(self, authorization: str | None) -> str | None:
        """Name the key's owner without revealing the key; None if the key is not accepted.

        Takes the same time for any key.
        """
        if not self:
            return ANONYMOUS
        scheme, _, key = (authorization or "").partition(" ")
        digest = _digest(key.strip())
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        found = any(matches) and scheme.lower() == "bearer"
        return f"key-{hashlib.sha256(digest).hexdigest()[:8]}" if found else None


def read_keys(config: HttpConfig) -> Keyring:
    """Read the keys from the configured file and environment variable.

    Raises:
        UserError: the file cannot be read, or no key is found.
    """
    keys: list[str] = []
    if config.api_keys_file is not None:
        try:
            lines = config.api_keys_file.expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read http.api_keys_file: {error}") from None
        keys += [line.strip() for line in lines if not line.lstrip().startswith("#")]
    if config.api_keys_env is not None:
        keys += [key.strip() for key in os.environ.get(config.api_keys_env, "").split(",")]
    keys = [key for key in keys if key]
    if config.has_keys and not keys:
        raise UserError(
            "http asks for API keys, but there is none: put one a line into http.api_keys_file, or "
            "separated by commas into the variable that http.api_keys_env names"
        )
    return Keyring(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
