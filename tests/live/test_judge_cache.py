"""The pairwise judge computes the new prefix of a call once, on a real engine."""

from __future__ import annotations

import asyncio

import pytest

from actors.channels.pool import ReplicaPool
from actors.deploy.app_names import judge_app_name
from actors.driver.serve_client import ServeJudges
from actors.messages import JudgeReply, JudgeRequest

pytestmark = pytest.mark.live

BLOCK = 32
"""Tokens of a cache block in `laptop-pairwise`: the cache shares whole ones."""
MEMBERS = 8


def test_a_call_computes_the_new_prefix_once(live_system, problems):
    from ray import serve

    new = "Let me think. " + "First, 6 × 7 = 2, then 2 + 5 = 7. " * 5
    members = tuple(f"Hmm, {member} × 3 is not it, so I begin again." for member in range(MEMBERS))

    async def score(*firsts: str) -> JudgeReply:
        handle = serve.get_app_handle(judge_app_name(live_system.config))
        pool = ReplicaPool(handle, live_system.config.limits.stall_s)
        try:
            request = JudgeRequest(f"cache-{len(firsts)}", problems[0].text, firsts, new)
            return await ServeJudges(pool).score(request)
        finally:
            await pool.close()

    reply = asyncio.run(score(*members))
    assert reply.num_pairs == MEMBERS
    assert reply.cached_tokens >= (MEMBERS - 1) * 2 * BLOCK
    again = asyncio.run(score(members[0]))
    assert again.p_same == pytest.approx(reply.p_same[:1], abs=1e-3)
