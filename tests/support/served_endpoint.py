"""A served endpoint, as its user would start it, and a look into its engines."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.support.waiting import HANG_S, wait_for

KEY = "a-key-for-tests"
OTHER_KEY = "another-key-for-tests"
QUESTION = "What is 3 × 4 + 2 × 5 × 7 + 7 × 2 + 1 + 2 modulo 10?"
ENGINE = {
    "gpus_per_shard": 0,
    "dtype": "float32",
    "max_model_len": 512,
    "kv_cache_gib": 0.25,
    "enforce_eager": True,
    "engine_args": {"block_size": 32},
}
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 256}


def configuration(folder: Path) -> dict[str, Any]:
    """Two models: `pruned` with a judge and a short queue, `voted` without, following the load."""
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    reasoner = {"model": "miniature/reasoner", **ENGINE}
    judge = {"model": "miniature/judge", **ENGINE, "max_num_seqs": 128}
    policy = {"name": "deepprune", "num_traces": 32, "checkpoint": "tokens:54", "max_members": 2}
    scale = {"min": 1, "max": 2, "upscale_delay_s": 0, "downscale_delay_s": 5, "drain_s": 30}
    return {
        "nodes": {"laptop": 3},
        "http": {
            "port": free_port(),
            "api_keys_file": str(keys),
            "max_body_bytes": 100_000,
            "request_log": str(folder / "requests.jsonl"),
        },
        "history": 50,
        "ingress": {"min": 2, "max": 2},
        "models": {
            "pruned": {
                "generator": {
                    "engine": reasoner | {"max_num_seqs": 64},
                    "sampling": SAMPLING,
                    "progress_s": 0.1,
                },
                "judge": {"engine": judge},
                "policy": policy,
                "ceilings": {"n": 512, "deadline_s": 60},
                "queue": {"max_running": 2, "max_waiting": 2},
            },
            "voted": {
                "generator": {
                    # With two threads its engine is started as on a GPU: not as a fork.
                    "engine": reasoner | {"max_num_seqs": 16, "cpus_per_shard": 2},
                    "sampling": SAMPLING,
                    "replicas": scale,
                },
                "policy": {"name": "cons", "num_traces": 4},
                "queue": {"max_running": 16, "max_waiting": 64},
            },
        },
    }


class Endpoint:
    """A running `deepprune serve`."""

    def __init__(
        self, config: dict[str, Any], probe: subprocess.Popen[str], ray_folder: Path
    ) -> None:
        self.port: int = config["http"]["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(config["http"]["request_log"])
        self._probe = probe
        self._ray_folder = ray_folder

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def ask(self, **fields: Any) -> dict[str, Any]:
        """The body of a request that has an answer."""
        messages = [{"role": "user", "content": QUESTION}]
        return {"model": "pruned", "messages": messages} | fields

    def post(self, body: dict[str, Any]) -> httpx.Response:
        url = f"{self.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=self.headers, timeout=HANG_S)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers | headers, timeout=HANG_S)

    def look(self, what: str = "unfinished") -> Any:
        """`unfinished`: requests that the engines hold; `replicas`: how many run."""
        assert self._probe.stdin is not None and self._probe.stdout is not None
        self._probe.stdin.write(f"{what}\n")
        self._probe.stdin.flush()
        return json.loads(self._probe.stdout.readline())

    def wait_for_rest(self) -> float:
        """Seconds until the engines hold no request any more."""
        began = time.monotonic()
        wait_for(lambda: not any(self.look().values()), every=0.02)
        return time.monotonic() - began

    def is_at_work(self, model: str = "pruned") -> bool:
        """Whether the generator of `model` holds requests."""
        return bool(self.look()[f"generator {model}"])

    def describe(self) -> str:
        """What it has to say for itself when a test has failed."""
        try:
            asked = self.get("/v1/deepprune/requests").text[:4000]
        except httpx.HTTPError as error:
            asked = repr(error)
        lines = self.log.read_text().splitlines()[-20:] if self.log.exists() else []
        return "\n".join([asked, *lines, what_went_wrong(self._ray_folder)])


@contextmanager
def served(folder: Path) -> Iterator[Endpoint]:
    """Start `deepprune serve` on a Ray cluster of its own, and end it."""
    config = configuration(folder)
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    ray_folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")  # short: sockets lie in it
    environment = os.environ | {
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_MODE": "token",  # as a cluster that `ray.init` starts has it
        # More CPUs than there may be: Ray only counts them, and four engines have to fit.
        "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 8}),
    }
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jobs", "serve", str(path)],
            env=environment,
            stdout=output,
            stderr=output,
        )
    probe = None
    try:

        def is_ready() -> bool:
            said = log.read_text(errors="replace")
            assert server.poll() is None, said[-2000:] + what_went_wrong(Path(ray_folder))
            return "ready at" in said

        def size_of_logs() -> int:
            engines = Path(ray_folder).glob("ray/session_*/logs/worker-*")
            return sum(found.stat().st_size for found in [log, *engines])

        try:
            wait_for(is_ready, every=0.5, progress=size_of_logs)
        except AssertionError:
            print(log.read_text()[-2000:] + what_went_wrong(Path(ray_folder)))
            raise
        probe = subprocess.Popen(
            [sys.executable, "-m", "tests.support.engine_probe"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        yield Endpoint(config, probe, Path(ray_folder))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=HANG_S) == 0, log.read_text()[-4000:]
    finally:
        for process in (probe, server):
            if process is not None and process.poll() is None:
                # Ray's own processes would outlive it.
                tree = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait()
                for child in tree:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
        shutil.rmtree(ray_folder, ignore_errors=True)


def what_went_wrong(ray_folder: Path) -> str:
    """The last lines of Serve's logs: all of the controller's, else what is a warning or worse."""
    lines = []
    for path in sorted(ray_folder.glob("ray/session_latest/logs/serve/*.log")):
        told = path.read_text(errors="replace").splitlines()
        if not path.name.startswith("controller"):
            told = [line for line in told if not line.startswith(("INFO ", "DEBUG "))]
        if told:
            lines += ["", path.name, *told[-12:]]
    return "\n".join(lines)[-8000:]


def free_port() -> int:
    """A port that nobody uses, outside of the range that connections and Ray's own servers take."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as unused, suppress(OSError):
            unused.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
