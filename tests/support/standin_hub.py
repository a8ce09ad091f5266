"""A stand-in of the model hub over HTTP: what huggingface_hub asks, and a count of downloads."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SHA = "a" * 40
TOKEN = "hf_standin"


@dataclass
class Hub:
    """Files of each model; those of `gated` need `TOKEN`. `sizes` are claimed for files."""

    models: Mapping[str, Mapping[str, bytes]]
    gated: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    downloads: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def size(self, name: str, content: bytes) -> int:
        return self.sizes.get(name, len(content))


@contextmanager
def serving(hub: Hub, host: str = "127.0.0.1") -> Iterator[Hub]:
    """Serve it until the end of the context; its address is `hub.url`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path).path.strip("/").split("/")
            is_api = parts[:2] == ["api", "models"]
            if is_api:
                del parts[:2]
            model, rest = "/".join(parts[:2]), parts[2:]
            files = hub.models.get(model)
            if files is None:
                return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            if is_api and rest[:1] == ["tree"]:
                return self.json([self.entry(name, files[name]) for name in files])
            if is_api:
                siblings = [{"rfilename": name} for name in files]
                return self.json({"id": model, "sha": SHA, "siblings": siblings})
            if model in hub.gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.answer(401, b"", {"X-Error-Code": "GatedRepo"})
            name = "/".join(rest[2:])
            if name not in files:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            if self.command == "GET":
                with hub.lock:
                    hub.downloads[f"{model}/{name}"] += 1
            etag = {"ETag": f'"{self.entry(name, files[name])["oid"]}"', "X-Repo-Commit": SHA}
            return self.answer(200, files[name], etag, hub.size(name, files[name]))

        def entry(self, name: str, content: bytes) -> dict[str, object]:
            oid = hashlib.sha1(name.encode() + content).hexdigest()
            return {"type": "file", "path": name, "size": hub.size(name, content), "oid": oid}

        def json(self, found: object) -> None:
            self.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

        def answer(
            self, status: int, body: bytes, headers: Mapping[str, str], size: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if size is None else size))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://{host}:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
