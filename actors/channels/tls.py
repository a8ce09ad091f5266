"""TLS for channels, with the certificates that Ray uses for itself on this node."""

from __future__ import annotations

import os
import ssl


def server_context() -> ssl.SSLContext | None:
    """Make the context of a replica's port; None where Ray uses no TLS."""
    return _context(ssl.Purpose.CLIENT_AUTH)


def client_context() -> ssl.SSLContext | None:
    """Make the context of a driver's connections; None where Ray uses no TLS."""
    return _context(ssl.Purpose.SERVER_AUTH)


def _context(purpose: ssl.Purpose) -> ssl.SSLContext | None:
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    context = ssl.create_default_context(purpose, cafile=os.environ["RAY_TLS_CA_CERT"])
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    # Both sides show a certificate of the cluster's authority, as Ray's own processes do. The
    # replica's address comes from Ray, and certificates need not name it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context
