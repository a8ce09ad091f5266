"""`deepprune engines`: keep engines on a cluster between commands that need equal ones."""

from __future__ import annotations

import sys

from deepprune.errors import UserError
from jobs.sample.run import RunOptions, configuration, end_on_signal


def engines(options: RunOptions) -> None:
    """Start the engines of a configuration and keep them until SIGINT or SIGTERM.

    Raises:
        UserError: the configuration or the cluster cannot work, or no cluster is given.
    """
    config = configuration(options)
    _say("checking the configuration")
    from actors.deploy.connection import connected, running_cluster
    from actors.deploy.preflight import check
    from actors.deploy.system import running

    address = running_cluster(options.address)
    if address is None:
        raise UserError("engines are kept on a running cluster: give its --address, such as auto")
    check(config, ())
    _say(f"connecting to {address}")
    with connected(address):
        _say("starting the engines")
        with running(config):
            ended = end_on_signal()
            _say(f"ready: commands with --address and equal engines use them ({options.config})")
            ended.wait()
            _say("stopping, unless a command uses them")


def _say(text: str) -> None:
    sys.stderr.write(f"engines: {text}\n")
