"""The pairwise judge: a Serve replica around a small vLLM engine that scores pairs of prefixes.

The score is the probability of one answer token (Section 4.1.2), never sampled text. The older
prefix comes first in the prompt: pairs that share it share its tokens, and the engine's prefix
cache computes them once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from actors.judges.pair_prompt import PairPrompt
from actors.judges.replica import JudgeReplica, p_same
from actors.messages import JudgeReply, JudgeRequest, PromptTooLong
from actors.replica.engine import check_engine, exit_replica, start_engine
from actors.replica.stall_detector import StallDetector
from actors.tokenizer import load_tokenizer
from deepprune.config import JudgePrompt, VllmJudgeConfig
from deepprune.errors import UserError

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput


class Judge(JudgeReplica):
    """One replica. Closing the stream of `score` aborts what is left of it in the engine."""

    def __init__(
        self,
        config: VllmJudgeConfig,
        prompt: JudgePrompt,
        executor_backend: str | None,
        stall_s: float,
    ) -> None:
        super().__init__(stall_s)
        self._stall_detector = StallDetector(stall_s)
        self._engine = start_engine(config.engine, executor_backend)
        # One token of the context is the answer's.
        longest = int(self._engine.model_config.max_model_len) - 1
        longest = min(longest, prompt.max_tokens or longest)
        self._prompt = PairPrompt(prompt, load_tokenizer(config.engine.tokenizer), longest)
        self._slope, self._shift = prompt.slope, prompt.shift

    async def check_health(self) -> None:
        """Exit the replica if its engine failed. Called by Serve, which then replaces it."""
        await check_engine(self._engine, self._stall_detector)

    async def num_unfinished(self) -> int:
        """Count the requests that the engine holds."""
        return int(self._engine.output_processor.get_num_unfinished_requests())

    async def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        """The one reply to a request."""
        try:
            prompts = [
                self._prompt.token_ids(request.problem, first, request.second)
                for first in request.firsts
            ]
        except UserError as error:
            raise PromptTooLong(str(error)) from None
        done: list[tuple[float, int, int]] = []
        ended = False
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._score_pair(f"{request.request_id}-{index}", ids, done))
                    for index, ids in enumerate(prompts)
                ]
            ended = True
        finally:
            if not ended and request.report_to is not None:
                _, computed, cached = _columns(done)
                request.report_to.settle_judge.remote(
                    request.request_id, len(done), sum(computed), sum(cached)
                )
        scores, computed, cached = _columns([task.result() for task in tasks])
        yield JudgeReply(scores, sum(computed), sum(cached))

    async def _score_pair(
        self, request_id: str, token_ids: list[int], done: list[tuple[float, int, int]]
    ) -> tuple[float, int, int]:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = [self._prompt.same_id, self._prompt.different_id]
        params = SamplingParams(
            max_tokens=1,
            temperature=0,
            logprob_token_ids=answers,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        result = (math.nan, 0, 0)
        try:
            with self._stall_detector.request():
                tokens = tokens_input(token_ids)
                async for output in self._engine.generate(tokens, params, request_id):
                    self._stall_detector.record_output()
                    result = self._read(output)
                    done.append(result)
        except EngineDeadError:
            exit_replica()
        return result

    def _read(self, output: RequestOutput) -> tuple[float, int, int]:
        logprobs: Any = output.outputs[0].logprobs
        same = logprobs[0][self._prompt.same_id].logprob
        different = logprobs[0][self._prompt.different_id].logprob
        cached = output.num_cached_tokens or 0
        computed = len(output.prompt_token_ids or ()) - cached
        return p_same(self._slope * (same - different) + self._shift), computed, cached

    def __del__(self) -> None:
        """End the engine's processes. Called by Serve when it retires the replica."""
        self._engine.shutdown()


def _columns(
    rows: list[tuple[float, int, int]],
) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
    scores = tuple(row[0] for row in rows)
    return scores, tuple(row[1] for row in rows), tuple(row[2] for row in rows)
