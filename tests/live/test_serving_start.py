"""An endpoint that cannot listen says why in one line."""

from __future__ import annotations

import socket

import pytest

from tests.support.command import deepprune
from tests.support.free_port import free_port

pytestmark = pytest.mark.live


def refusal(address: str, folder, port: int) -> str:
    """The last line of an endpoint that does not start on the cluster at `address`."""
    options = ("--address", address, "--set", f"http.port={port}")
    result = deepprune("serve", "serve-laptop", *options, cwd=folder)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def test_a_port_that_is_taken_is_named(bare_cluster, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f":{port}: another program uses the port" in refusal(bare_cluster, tmp_path, port)


def test_where_serve_runs_without_http_nothing_would_listen(bare_cluster, tmp_path):
    from ray import serve

    serve.start(proxy_location="Disabled")
    try:
        assert "without HTTP" in refusal(bare_cluster, tmp_path, free_port())
    finally:
        serve.shutdown()


def test_where_serve_listens_elsewhere_the_address_is_named(bare_cluster, tmp_path):
    from ray import serve

    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    try:
        said = refusal(bare_cluster, tmp_path, free_port())
        assert f"listens on 127.0.0.1:{port}" in said
    finally:
        serve.shutdown()
