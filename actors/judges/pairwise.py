"""The pairwise judge: a Serve replica around a small vLLM engine that scores pairs of prefixes.

The score is the probability of one answer token (Section 4.1.2), never sampled text. The new
prefix comes first in the prompts of a call: it is computed once for all members, whatever else the
engine's prefix cache holds. With the members first, a cache that cannot hold those of all problems
in flight would lose each before its next use.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from actors.judges.pair_prompt import PairPrompt
from actors.judges.replica import Cost, JudgeReplica, p_same
from actors.messages import JudgeRequest, PromptTooLong
from actors.replica.engine import check_engine, exit_replica, start_engine
from actors.replica.stall_detector import StallDetector
from actors.tokenizer import load_tokenizer
from deepprune.config import EngineConfig, JudgePrompt, VllmJudgeConfig
from deepprune.errors import UserError

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput


MAX_CALLS = 4096
"""Calls in progress at a replica; its engine queues the pairs that it cannot score at once."""


class Judge(JudgeReplica):
    """One replica. Cancelling a call aborts its engine requests."""

    def __init__(
        self,
        config: VllmJudgeConfig,
        prompt: JudgePrompt,
        executor_backend: str | None,
        stall_s: float,
    ) -> None:
        super().__init__(MAX_CALLS, stall_s)
        self._stall_detector = StallDetector(stall_s)
        self._engine = start_engine(_with_exact_head(config.engine), executor_backend)
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

    async def _score(self, request: JudgeRequest, cost: Cost) -> tuple[float, ...]:
        try:
            prompts = [
                self._prompt.token_ids(request.problem, request.second, member)
                for member in request.firsts
            ]
        except UserError as error:
            raise PromptTooLong(str(error)) from None
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._score_pair(f"{request.request_id}-{index}", ids, cost))
                for index, ids in enumerate(prompts)
            ]
        return tuple(task.result() for task in tasks)

    async def _score_pair(self, request_id: str, token_ids: list[int], cost: Cost) -> float:
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
        score = math.nan
        try:
            with self._stall_detector.request():
                tokens = tokens_input(token_ids)
                async for output in self._engine.generate(tokens, params, request_id):
                    self._stall_detector.record_output()
                    cached = output.num_cached_tokens or 0
                    cost.num_pairs += 1
                    cost.computed_tokens += len(token_ids) - cached
                    cost.cached_tokens += cached
                    score = self._p_same(output)
        except EngineDeadError:
            exit_replica()
        return score

    def _p_same(self, output: RequestOutput) -> float:
        logprobs: Any = output.outputs[0].logprobs
        same = logprobs[0][self._prompt.same_id].logprob
        different = logprobs[0][self._prompt.different_id].logprob
        return p_same(self._slope * (same - different) + self._shift)


def _with_exact_head(config: EngineConfig) -> EngineConfig:
    """Let the engine compute logits in float32: bf16 ones have steps, and pairs would tie."""
    given = config.engine_args.get("hf_overrides", {})
    if not isinstance(given, dict):
        return config
    arguments = {**config.engine_args, "hf_overrides": {"head_dtype": "float32", **given}}
    return config.model_copy(update={"engine_args": arguments})
