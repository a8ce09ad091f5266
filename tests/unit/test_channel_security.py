"""Who may open a channel, and who can read it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess

import pytest

from actors.channels.frames import KEY_BYTES
from tests.support.channel_replicas import Ask, Replica, connected, result


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr("actors.channels.server.replica_name", lambda: "unnamed")


@pytest.fixture
def ray_with_tls(tmp_path, monkeypatch):
    """Certificates of one authority, where Ray would look for them."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=ray -keyout {key}"
    subprocess.run([*command.split(), "-out", str(cert)], check=True, capture_output=True)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(cert))
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(cert))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(key))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
async def test_channels_use_the_certificates_of_ray(ray_with_tls):
    replica = Replica("one")
    async with connected(replica) as made:
        assert await result(made, Ask("r")) == ("done", 3)
        (channel,) = made._channels.values()
        assert channel._writer.get_extra_info("cipher") is not None
        address = await replica.address()
        _, plain = await asyncio.open_connection(address.host, address.port)
        plain.write(address.key)
        await asyncio.sleep(0.1)
        assert len(replica.server._channels) == 1, "without a certificate nobody gets in"
        plain.close()


async def test_who_does_not_have_the_key_is_refused_before_anything_is_unpickled():
    replica = Replica("one")
    address = await replica.address()
    with socket.create_connection((address.host, address.port)) as stranger:
        stranger.sendall(b"x" * KEY_BYTES + b"\0" * 7 + b"\5hello")
        stranger.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
    assert not replica.server._channels and "x" not in repr(address).replace("index", "")
    await replica.server.close()
