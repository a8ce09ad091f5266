"""The judge: a Serve replica around one small vLLM engine that says P(same) of two prefixes.

The score is the probability of one answer token (Section 4.1.2), never sampled text. The older
prefix comes first in the prompt: pairs that share it share its tokens, and the engine's prefix
cache computes them once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from actors.engine import leave_the_pool, start_engine
from actors.messages import JudgeReply, JudgeRequest
from actors.vigil import Vigil
from deepprune.config import JudgeConfig, JudgePrompt
from deepprune.errors import UserError

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput


class Judge:
    """One replica. Cancelling `score` aborts what is left of it in the engine."""

    def __init__(
        self,
        config: JudgeConfig,
        prompt: JudgePrompt,
        executor_backend: str | None,
        stall_s: float,
    ) -> None:
        self._vigil = Vigil(stall_s)
        self._engine = start_engine(config.engine, executor_backend)
        self._prompt = PairPrompt(
            prompt, self._engine.get_tokenizer(), self._engine.model_config.max_model_len
        )

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises, or is gone: its engine hangs."""
        await self._engine.check_health()
        if self._vigil.stalled:
            leave_the_pool("the engine hangs")

    async def num_unfinished(self) -> int:
        """Requests that the engine holds."""
        return int(self._engine.output_processor.get_num_unfinished_requests())

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """P(same) of `request.second` with each of `request.firsts`."""
        done: list[tuple[float, int, int]] = []
        ended = False
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._score_pair(f"{request.request_id}-{index}", ids, done))
                    for index, ids in enumerate(
                        self._prompt.token_ids(request.problem, first, request.second)
                        for first in request.firsts
                    )
                ]
            ended = True
        finally:
            if not ended and request.report_to is not None:
                _, computed, cached = _columns(done)
                request.report_to.settle_judge.remote(
                    request.request_id, len(done), sum(computed), sum(cached)
                )
        scores, computed, cached = _columns([task.result() for task in tasks])
        return JudgeReply(scores, sum(computed), sum(cached))

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
            with self._vigil.request():
                tokens = tokens_input(token_ids)
                async for output in self._engine.generate(tokens, params, request_id):
                    self._vigil.heard()
                    result = self._read(output)
                    done.append(result)
        except EngineDeadError:
            leave_the_pool()
        return result

    def _read(self, output: RequestOutput) -> tuple[float, int, int]:
        logprobs: Any = output.outputs[0].logprobs
        same = logprobs[0][self._prompt.same_id].logprob
        different = logprobs[0][self._prompt.different_id].logprob
        cached = output.num_cached_tokens or 0
        return p_same(same, different), len(output.prompt_token_ids or ()) - cached, cached

    def __del__(self) -> None:
        """Called by Serve when it retires the replica: end the engine's processes with it."""
        self._engine.shutdown()


def p_same(same_logprob: float, different_logprob: float) -> float:
    """P(same), renormalised over the two answer tokens."""
    return 1 / (1 + math.exp(min(700.0, different_logprob - same_logprob)))


def _columns(
    rows: list[tuple[float, int, int]],
) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
    scores = tuple(row[0] for row in rows)
    return scores, tuple(row[1] for row in rows), tuple(row[2] for row in rows)


class PairPrompt:
    """Turns pairs into token ids, piece by piece so that equal beginnings stay equal.

    A prefix that leaves no room for the other is cut to its last tokens: an equal share of what
    `max_model_len` leaves beside the template.

    Raises:
        UserError: an answer is not a single token of the judge's tokenizer.
    """

    def __init__(self, prompt: JudgePrompt, tokenizer: Any, max_model_len: int) -> None:
        self.same_id = answer_token_id(tokenizer, prompt.same_token)
        self.different_id = answer_token_id(tokenizer, prompt.different_token)
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._encode: Callable[[str], tuple[int, ...]] = lru_cache(maxsize=8192)(self._tokens)

    def token_ids(self, problem: str, first: str, second: str) -> list[int]:
        """The prompt of one pair."""
        head, middle, tail = map(
            self._encode, prompt_pieces(self._prompt, self._tokenizer, problem)
        )
        room = (self._max_model_len - 1 - len(head) - len(middle) - len(tail)) // 2
        return [
            *head,
            *self._encode(first)[-room:],
            *middle,
            *self._encode(second)[-room:],
            *tail,
        ]

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))


def prompt_pieces(prompt: JudgePrompt, tokenizer: Any, problem: str) -> tuple[str, str, str]:
    """The text before, between and after the two prefixes, in training as in serving."""
    template = prompt.template
    if prompt.chat:
        template = tokenizer.apply_chat_template(
            [{"role": "user", "content": template}], add_generation_prompt=True, tokenize=False
        )
    elif prompt.add_special_tokens and tokenizer.bos_token:
        template = tokenizer.bos_token + template
    head, rest = template.split("{first}")
    middle, tail = rest.split("{second}")
    return (
        head.replace("{problem}", problem),
        middle.replace("{problem}", problem),
        tail.replace("{problem}", problem),
    )


def answer_token_id(tokenizer: Any, answer: str) -> int:
    """The id of an answer token.

    Raises:
        UserError: the tokenizer makes none, or several, of it.
    """
    ids = tokenizer.encode(answer, add_special_tokens=False)
    if len(ids) != 1:
        raise UserError(
            f"the judge's tokenizer has no single token for its answer {answer!r}: set "
            "judge.prompt.same_token and judge.prompt.different_token to words it has"
        )
    return int(ids[0])
