"""The ingress: a Serve replica that accepts requests and drives their policies.

Replicas are independent: each admits requests and drives a `LiveProblem` for each over its channels
to generators and judges. The engines share their slots fairly among the requests of all.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from actors.deploy.preflight import with_calibration
from actors.driver.serve_client import ServeGenerators, connect_generators, connect_judges
from actors.serving.admission import Admission
from actors.serving.http import build_http_app
from actors.serving.keys import Keyring
from actors.serving.request_runner import ServedModel
from actors.serving.service import RequestService
from actors.serving.spec import offer_of
from deepprune.serve_config import ServeConfig


@serve.ingress()
class Ingress:
    """One replica. `engines` has the handles of each model's generator and judge."""

    def __init__(
        self,
        config: ServeConfig,
        engines: dict[str, tuple[DeploymentHandle | None, DeploymentHandle | None]],
        history: DeploymentHandle,
        keys: Keyring,
    ) -> None:
        models = {
            name: _served_model(config, name, generator, judge, len(keys))
            for name, (generator, judge) in engines.items()
        }
        replica = serve.get_replica_context().replica_id.unique_id
        self._service = RequestService(config, models, keys, history, replica)
        loops = (self._service.measure_queues, self._service.write_history)
        self._loops = [asyncio.create_task(loop()) for loop in loops]

    def check_health(self) -> None:
        """Raise if a loop has ended; Serve then replaces the replica.

        Raises:
            RuntimeError: a loop has ended; none ends by itself.
        """
        for loop in self._loops:
            if loop.done():
                raise RuntimeError(f"{loop.get_coro()} has ended") from loop.exception()

    def __serve_build_asgi_app__(self) -> Any:
        """Build the ASGI app; called by Serve after the constructor."""
        return build_http_app(self._service)


def _served_model(
    config: ServeConfig,
    name: str,
    generator: DeploymentHandle | None,
    judge: DeploymentHandle | None,
    num_keys: int,
) -> ServedModel:
    run = with_calibration(config.run(name))
    generators = connect_generators(run, generator)
    return ServedModel(
        config=run,
        offer=offer_of(config, name),
        generators=generators,
        judges=connect_judges(run, judge),
        replica=generator,
        pool=generators.pool if isinstance(generators, ServeGenerators) else None,
        admission=Admission(config.models[name].queue, num_keys),
    )
