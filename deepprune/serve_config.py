"""The configuration of an endpoint: several models behind one address.

One YAML file like that of a run, with `models` in place of one generator, judge and policy.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, StringConstraints, ValidationError, model_validator

from deepprune.config import (
    GeneratorConfig,
    JudgeConfig,
    LimitsConfig,
    ReplicasConfig,
    RunConfig,
)
from deepprune.loading import explained, read_yaml, validated
from deepprune.policy_config import PlusConfig, PolicyConfig
from deepprune.section import Section

ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:+-]{0,127}$")]


class CeilingsConfig(Section):
    """The most that one request may ask of a model, and what it gets when it asks for nothing."""

    n: int = Field(512, ge=1)
    """Traces."""
    max_total_tokens: int | None = Field(None, ge=1)
    """Tokens over all traces of a request. Absent: no bound but that of each trace."""
    deadline_s: float = Field(600.0, gt=0)
    """Seconds from the request's arrival to its answer."""


class QueueConfig(Section):
    """How many requests of a model each replica of the ingress takes on; more are refused."""

    max_running: int = Field(8, ge=1)
    """Requests at work; their traces share the engines fairly."""
    max_waiting: int = Field(32, ge=0)
    """Requests that wait for their turn."""
    max_per_key: int | None = Field(None, ge=1)
    """Requests of one key, running or waiting. Absent: half of all places where there are several
    keys, else all."""


class ServedModelConfig(Section):
    """One model: its generator, its judge if it has one, and the policy of plain requests."""

    generator: GeneratorConfig
    judge: JudgeConfig | None = None
    policy: PolicyConfig = PlusConfig(name="deepprune+")
    limits: LimitsConfig = LimitsConfig()
    ceilings: CeilingsConfig = CeilingsConfig()
    queue: QueueConfig = QueueConfig()


class HttpConfig(Section):
    """Where the endpoint listens, and whom it lets in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_keys_file: Path | None = None
    """A file with a key a line; empty lines and lines that begin with # do not count."""
    api_keys_env: str | None = None
    """Name of an environment variable that holds keys, separated by commas; never a key itself."""
    event_streams_per_key: int = Field(32, ge=1)
    """Streams of `/v1/deepprune/requests/{id}/events` that one key may hold open in each replica of
    the ingress."""
    max_body_bytes: int = Field(1_048_576, ge=1024)
    request_log: Path | None = None
    """Where each request leaves a line of JSON; absent: on stderr. Never prompts, never keys."""

    @property
    def has_keys(self) -> bool:
        """Whether a key is asked for."""
        return self.api_keys_file is not None or self.api_keys_env is not None


class ServeConfig(Section):
    """A whole endpoint."""

    nodes: dict[str, PositiveInt] = Field(min_length=1)
    """How many nodes of each type in `cluster/node_types.py` there may be."""
    models: dict[ModelName, ServedModelConfig] = Field(min_length=1)
    """By the name that clients ask for."""
    http: HttpConfig = HttpConfig()
    ingress: ReplicasConfig = ReplicasConfig()
    """Replicas of the HTTP ingress, which also drive the policies."""
    history: int = Field(100, ge=0)
    """Past requests that the live view remembers, in memory."""

    @model_validator(mode="after")
    def _whole(self) -> ServeConfig:
        for name in self.models:
            try:
                self.run(name)
            except ValidationError as error:
                raise ValueError(f"models.{name}: {explained(error)}") from None
        if not self.http.has_keys and not is_loopback(self.http.host):
            raise ValueError(
                f"http.host {self.http.host} can be reached from other machines: set "
                "http.api_keys_file or http.api_keys_env, or listen on 127.0.0.1"
            )
        return self

    def run(self, name: str) -> RunConfig:
        """One model as the configuration of a run."""
        model = self.models[name]
        return RunConfig(
            nodes=self.nodes,
            generator=model.generator,
            judge=model.judge,
            policy=model.policy,
            limits=model.limits,
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_serve_config(data: Any, source: str) -> ServeConfig:
    """Validate `data`; `source` names it in errors.

    Raises:
        UserError: a key is unknown, missing or wrong; the message names each.
    """
    return validated(ServeConfig, data, source)


def load_serve_config(path: str | Path, overrides: dict[str, Any] | None = None) -> ServeConfig:
    """Read a configuration file, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, is not YAML, or does not validate.
    """
    return parse_serve_config(read_yaml(path, overrides), str(path))
