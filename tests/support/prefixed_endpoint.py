"""The ingress's app behind a real Serve proxy, under several route prefixes.

    python -m tests.support.prefixed_endpoint OUT

Writes one JSON object: the status of each request, without a key and with one, by prefix.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve

from tests.support.free_port import free_port

KEY = "sesame"
ASK = {"model": "voted", "messages": [{"role": "user", "content": "Which way?"}]}
REQUESTS: list[tuple[str, str]] = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/voted"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/deepprune/requests"),
    ("GET", "/v1/deepprune/requests/none/events"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/"),
]


@serve.deployment
@serve.ingress()
class Ingress:
    def __serve_build_asgi_app__(self) -> Any:
        from actors.serving.http import build_http_app
        from tests.support.synthetic_endpoint import service

        return build_http_app(service(Path(tempfile.mkdtemp()), [KEY], 10_000))


def main() -> None:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    seen: dict[str, dict[str, tuple[int, int]]] = {}
    for prefix in ("/", "/llm"):
        name = prefix.replace("/", "-")
        serve.run(Ingress.bind(), name=name, route_prefix=prefix)
        url = f"http://127.0.0.1:{port}{prefix.rstrip('/')}"
        seen[prefix] = {
            path: (_status(url, method, path), _status(url, method, path, KEY))
            for method, path in REQUESTS
        }
        serve.delete(name)
    Path(sys.argv[1]).write_text(json.dumps(seen), encoding="utf-8")
    ray.shutdown()


def _status(url: str, method: str, path: str, key: str | None = None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    body = ASK if method == "POST" else None
    response = httpx.request(method, url + path, json=body, headers=headers, timeout=60)
    return response.status_code


if __name__ == "__main__":
    main()
