"""Serve's autoscaling policy for deployments with channels."""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext

DEMAND = "demand"
"""The statistic that each replica records: its requests in progress, and those that wait."""


def replicas_for_demand(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return the number of replicas that serve all requests at once; Serve applies the delays."""
    demand = sum((context.aggregated_metrics or {}).get(DEMAND, {}).values())
    return demand / context.config.target_ongoing_requests, {}
