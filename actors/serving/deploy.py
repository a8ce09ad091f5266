"""The endpoint as a Serve application: ingress, request history.

`deepprune serve` shares its engines with other commands on the cluster. A Serve config file names
`build_app` as its `import_path`; that application holds its own engines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve._private import api as serve_api
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from actors.deploy.app_names import generator_app_name, judge_app_name
from actors.deploy.app_reaper import used
from actors.deploy.applications import QUIET, generator_app, judge_app, scale_options
from actors.deploy.connection import START_S
from actors.deploy.preflight import check
from actors.deploy.shared_folders import check_model_folders
from actors.deploy.startup import wait_until_running
from actors.deploy.system import deploy_missing, engine_targets
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.serving.ingress import Ingress
from actors.serving.keys import read_keys
from actors.serving.request_history import RequestHistory
from cluster.configs import resolve_config, shipped_serve_configs
from cluster.placement import place_together
from deepprune.config import VllmGeneratorConfig
from deepprune.errors import UserError
from deepprune.loading import validated
from deepprune.serve_config import ServeConfig, load_serve_config, parse_serve_config

APP = "deepprune"
Engines = Mapping[str, tuple[Any, Any]]
"""Generator and judge of each model: applications to bind, or handles; None where there is none."""
MAX_CALLS = 10_000
"""Concurrent calls of a Serve replica: more than it admits itself."""


class AppArguments(BaseModel):
    """Arguments of the application in a Serve config file; give one of the two."""

    model_config = ConfigDict(extra="forbid")

    config: str | None = None
    """An endpoint's configuration file, or the name of a shipped one."""
    inline: dict[str, Any] | None = None
    """The configuration itself."""


def build_app(args: dict[str, Any]) -> serve.Application:
    """Build the application from a Serve config file.

    Args:
        args: the file's section `args`, see `AppArguments`.

    Raises:
        UserError: the configuration is not valid.
    """
    arguments = validated(AppArguments, args, "args")
    if arguments.inline is not None:
        config = parse_serve_config(arguments.inline, "args.inline")
    else:
        name = arguments.config or "serve-laptop"
        config = load_serve_config(resolve_config(name, shipped_serve_configs()))
    return endpoint_app(config, own_engines(config))


def check_endpoint(config: ServeConfig) -> None:
    """Check a configuration before an engine starts.

    Raises:
        UserError: the configuration cannot work; one line says what to change.
    """
    read_keys(config.http)
    runs = [config.run(name) for name in config.models]
    place_together(config.nodes, runs)
    for run in runs:
        check(run, [])


def own_engines(config: ServeConfig) -> Engines:
    """Build engines for this endpoint alone, as part of its application."""
    engines = {}
    for index, name in enumerate(config.models):
        run = config.run(name)
        suffix = f"{index}-{re.sub('[^A-Za-z0-9]+', '-', name)}"
        generator = judge = None
        stall_s = run.limits.stall_s
        if isinstance(run.generator, VllmGeneratorConfig):
            generator = generator_app(run.generator, stall_s, f"generator-{suffix}")
        if run.judge is not None:
            judge = judge_app(run.judge, stall_s, f"judge-{suffix}")
        engines[name] = (generator, judge)
    return engines


def shared_engines(config: ServeConfig) -> Engines:
    """Connect to engines that run as applications of their own, see `engine_targets`."""
    engines = {}
    for name in config.models:
        run = config.run(name)
        generator = _handle(GENERATOR, generator_app_name(run))
        engines[name] = (generator, _handle(JUDGE, judge_app_name(run)))
    return engines


def _handle(deployment: str, app: str | None) -> DeploymentHandle | None:
    if app is None:
        return None
    # Serve lists a deployment only some time after it was deployed.
    return serve.get_deployment_handle(deployment, app, _check_exists=False)


def endpoint_app(config: ServeConfig, engines: Engines) -> serve.Application:
    """Build the application of a configuration over `engines`.

    Raises:
        UserError: the API keys cannot be read.
    """
    num_requests = sum(model.queue.max_running for model in config.models.values())
    common: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": 0},
        "max_ongoing_requests": MAX_CALLS,
        "logging_config": QUIET,
        "health_check_period_s": 5,
    }
    history = serve.deployment(RequestHistory).options(name="history", **common)
    ingress = serve.deployment(Ingress).options(
        name="ingress", **common, **scale_options(config.ingress, num_requests)
    )
    keys = read_keys(config.http)  # read here: replicas may lack the variable or the file
    return ingress.bind(config, engines, history.bind(config.history), keys)


@contextmanager
def serving(config: ServeConfig, *, cluster_ends_too: bool = False) -> Iterator[str]:
    """Start the endpoint on the connected cluster, yield its URL, and stop it at the end.

    Share engines that another driver has started for an equal configuration. With
    `cluster_ends_too`, leave stopping to the cluster.

    Raises:
        UserError: it does not start.
    """
    if not cluster_ends_too:
        check_model_folders([config.run(name) for name in config.models])
    targets = {t.name: t for name in config.models for t in engine_targets(config.run(name))}
    apps = [APP, *targets]
    with nullcontext() if cluster_ends_too else used(apps):
        listen(config.http.host, config.http.port)
        deploy_missing(list(targets.values()))
        endpoint = endpoint_app(config, shared_engines(config))
        serve.run_many(
            [serve.RunTarget(endpoint, name=APP, route_prefix="/")],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        wait_until_running(apps, max(m.limits.start_s for m in config.models.values()))
        yield f"http://{config.http.host}:{config.http.port}"


def listen(host: str, port: int) -> None:
    """Start Serve with its HTTP proxy on the head node.

    Raises:
        UserError: it cannot listen there, or Serve runs already and does not.
    """
    serve_api.HTTP_PROXY_TIMEOUT = START_S  # Ray's minute is too short for a busy machine
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    except RayTaskError as error:
        if "Failed to bind" not in str(error):
            raise
        raise UserError(
            f"cannot listen on {host}:{port}: another program uses the port, or the host is not "
            "one of this machine; choose another with --set http.port=PORT"
        ) from None
    if not serve.status().proxies:  # where Serve runs already, it ignores the options above
        raise UserError(
            "Serve already runs on this cluster without HTTP, since another command has started "
            "engines: start the endpoint first, then commands with equal engines use its engines"
        )
    found = _get_global_client().http_config
    if (found.host, found.port) != (host, port):
        raise UserError(
            f"Serve already runs on this cluster and listens on {found.host}:{found.port}: set "
            "http.host and http.port to it"
        )
