"""A served endpoint, as its user would start it, over the engines of the live system."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml

from deepprune.config import RunConfig
from tests.support.engines import num_unfinished
from tests.support.systems import LiveSystem
from tests.support.waiting import HANG_S, wait_for

KEY = "a-key-for-tests"
OTHER_KEY = "another-key-for-tests"
QUESTION = "What is 3 × 4 + 2 × 5 × 7 + 7 × 2 + 1 + 2 modulo 10?"
SCALED = "scaled"


def configuration(folder: Path, run: RunConfig, port: int) -> dict[str, Any]:
    """Two models on the engines of `run`: `pruned` with its judge and a short queue, `voted`."""
    sections = run.model_dump(mode="json")
    pruned = {
        "generator": sections["generator"],
        "judge": sections["judge"],
        "policy": sections["policy"],
        "ceilings": {"n": 512, "deadline_s": HANG_S},
        "queue": {"max_running": 2, "max_waiting": 2},
    }
    voted = {
        "generator": sections["generator"],
        "policy": {"name": "cons", "num_traces": 4},
        "queue": {"max_running": 16, "max_waiting": 64},
    }
    return _endpoint(folder, port, {"pruned": pruned, "voted": voted})


def scaled_configuration(folder: Path, run: RunConfig, port: int) -> dict[str, Any]:
    """One model on an engine of its own that follows the load."""
    generator = run.generator.model_dump(mode="json")
    # With two threads its engine is started as on a GPU: not as a fork.
    generator["engine"] |= {"max_num_seqs": 16, "cpus_per_shard": 2}
    scale = {"min": 1, "max": 2, "upscale_delay_s": 0, "downscale_delay_s": 5, "drain_s": 30}
    model = {
        "generator": generator | {"replicas": scale},
        "policy": {"name": "cons", "num_traces": 4},
        "queue": {"max_running": 16, "max_waiting": 64},
    }
    return _endpoint(folder, port, {SCALED: model})


def _endpoint(folder: Path, port: int, models: dict[str, Any]) -> dict[str, Any]:
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    return {
        "nodes": {"laptop": 3},
        "http": {
            "port": port,
            "api_keys_file": str(keys),
            "max_body_bytes": 100_000,
            "request_log": str(folder / "requests.jsonl"),
        },
        "history": 50,
        "ingress": {"min": 2, "max": 2},
        "models": models,
    }


class Endpoint:
    """A running `deepprune serve`."""

    def __init__(self, config: dict[str, Any], apps: list[str]) -> None:
        self.port: int = config["http"]["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(config["http"]["request_log"])
        self.apps = apps

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

    def wait_for_rest(self) -> float:
        """Seconds until the engines hold no request any more."""
        began = time.monotonic()
        wait_for(lambda: not any(map(num_unfinished, self.apps)), every=0.02)
        return time.monotonic() - began

    def is_at_work(self) -> bool:
        """Whether a generator holds requests."""
        return any(num_unfinished(app) for app in self.apps if "generator" in app)

    def describe(self) -> str:
        """What it has to say for itself when a test has failed."""
        try:
            asked = self.get("/v1/deepprune/requests").text[:4000]
        except httpx.HTTPError as error:
            asked = repr(error)
        lines = self.log.read_text().splitlines()[-20:] if self.log.exists() else []
        return "\n".join([asked, *lines, what_went_wrong()])


def two_models(live: LiveSystem) -> Any:
    """An endpoint over the engines of the live system."""
    return served(live, configuration)


def scaled(live: LiveSystem) -> Any:
    """An endpoint whose engine follows the load."""
    return served(live, scaled_configuration)


@contextmanager
def served(live: LiveSystem, configured: Any) -> Iterator[Endpoint]:
    """Start `deepprune serve` on the cluster of the live system, and end it."""
    from actors.deploy.app_names import generator_app_name, judge_app_name
    from deepprune.serve_config import parse_serve_config

    with TemporaryDirectory() as made:
        folder = Path(made)
        config = configured(folder, live.config, live.port)
        parsed = parse_serve_config(config, "the test's endpoint")
        runs = [parsed.run(name) for name in parsed.models]
        apps = {app for run in runs for app in (generator_app_name(run), judge_app_name(run))}
        path, log = folder / "serve.yaml", folder / "log"
        path.write_text(yaml.safe_dump(config))
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jobs", "serve", str(path)),
                    *("--address", live.address),
                ],
                stdout=output,
                stderr=output,
            )

        def is_ready() -> bool:
            said = log.read_text(errors="replace")
            assert server.poll() is None, said[-2000:] + what_went_wrong()
            return "ready at" in said

        def size_of_logs() -> int:
            return sum(found.stat().st_size for found in [log, *logs("worker-*")])

        try:
            try:
                wait_for(is_ready, every=0.5, progress=size_of_logs)
            except AssertionError:
                print(log.read_text()[-2000:] + what_went_wrong())
                raise
            yield Endpoint(config, sorted(filter(None, apps)))
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=HANG_S) == 0, log.read_text()[-4000:]
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def logs(pattern: str) -> list[Path]:
    """Log files of the cluster that this process is attached to."""
    from ray._private.worker import _global_node

    assert _global_node is not None
    return sorted(Path(_global_node.get_session_dir_path()).glob(f"logs/{pattern}"))


def what_went_wrong() -> str:
    """The last lines of Serve's logs: all of the controller's, else what is a warning or worse."""
    lines = []
    for path in logs("serve/*.log"):
        told = path.read_text(errors="replace").splitlines()
        if not path.name.startswith("controller"):
            told = [line for line in told if not line.startswith(("INFO ", "DEBUG "))]
        if told:
            lines += ["", path.name, *told[-12:]]
    return "\n".join(lines)[-8000:]
