"""Score one trace against many, in as many calls to the judge as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from actors.messages import EngineGone, JudgeReply, JudgeRequest, Judges, NotStarted

logger = logging.getLogger(__name__)


async def score_in_parts(
    judges: Judges,
    request: JudgeRequest,
    members: Sequence[int],
    *,
    pairs_per_call: int,
    retries: int,
) -> JudgeReply:
    """Score `request.second` against all of `request.firsts`, the prefixes of `members`.

    Each call has at most `pairs_per_call` pairs and is named after its first member.

    Raises:
        EngineGone: more than `retries` replicas died under a call.
        PromptTooLong: the problem is too long for the judge.
    """
    parts = [
        replace(
            request,
            request_id=f"{request.request_id}/judge-{members[start]}",
            firsts=request.firsts[start : start + pairs_per_call],
        )
        for start in range(0, len(members), pairs_per_call)
    ]
    replies = await asyncio.gather(*(_score(judges, part, retries) for part in parts))
    return JudgeReply(
        tuple(p for reply in replies for p in reply.p_same),
        sum(reply.computed_tokens for reply in replies),
        sum(reply.cached_tokens for reply in replies),
    )


async def _score(judges: Judges, request: JudgeRequest, retries: int) -> JudgeReply:
    num_deaths = 0
    while True:
        try:
            return await judges.score(request)
        except EngineGone as error:
            logger.warning("%s: judge: %s", request.request_id, error)
            num_deaths += not isinstance(error, NotStarted)
            if num_deaths > retries:
                raise
