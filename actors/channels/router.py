"""Serve's router for deployments with channels: it introduces a driver to each replica."""

from __future__ import annotations

import random

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class ChannelRouter(RequestRouter):  # type: ignore[misc]  # untyped in Ray
    """Routes a call to a replica whose id is not in the call's argument `known`, if there is one.

    So a driver that asks for an address again and again knows all replicas soon. Other calls go to
    the less busy one of two random replicas.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Choose two replicas; Serve takes the less busy one."""
        known: frozenset[str] = frozenset()
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
            known = pending_request.kwargs.get("known", known)
        new = [r for r in candidate_replicas if r.replica_id.unique_id not in known]
        pool = new or candidate_replicas
        return [random.sample(pool, min(2, len(pool)))]
