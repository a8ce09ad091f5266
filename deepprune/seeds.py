"""Seeds derived from names, equal in every process."""

from __future__ import annotations

import hashlib


def stable_seed(*parts: object) -> int:
    """Hash `parts` to a seed of 31 bits, the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1
