"""`deepprune serve`: an endpoint, until it is told to end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from cluster.configs import resolve_config, shipped_serve_configs
from deepprune.serve_config import ServeConfig, load_serve_config
from jobs.sample.run import end_on_signal


def serve(config_name: str, overrides: dict[str, Any], address: str | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        UserError: the configuration, the models or the cluster cannot work.
    """
    path = resolve_config(config_name, shipped_serve_configs())
    config = load_serve_config(path, overrides)
    _say("checking the configuration")
    from actors.deploy.connection import connected, running_cluster
    from actors.serving.deploy import check_endpoint, serving

    check_endpoint(config)
    address = running_cluster(address)
    if address is None and config.http.request_log is None:
        config = _with_log_file(config)
    _say("starting Ray" if address is None else f"connecting to {address}")
    with connected(address):
        _say(f"starting the engines of {', '.join(config.models)}")
        with serving(config, cluster_ends_too=address is None) as url:
            ended = end_on_signal()
            log = config.http.request_log
            _say(f"ready at {url}/v1" + (f"; requests are logged in {log}" if log else ""))
            ended.wait()
            _say("ending")


def _with_log_file(config: ServeConfig) -> ServeConfig:
    folder = Path("runs") / f"serve-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True, exist_ok=True)
    http = config.http.model_copy(update={"request_log": (folder / "requests.jsonl").resolve()})
    return config.model_copy(update={"http": http})


def _say(text: str) -> None:
    sys.stderr.write(f"serve: {text}\n")
