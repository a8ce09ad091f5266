"""A trace that spends its budget inside its thought is asked for its answer, and billed for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from actors.channels import server
from actors.driver.trace_collector import Collected, collect
from actors.generators import generator as generator_module
from actors.generators.generator import Generator
from actors.messages import EngineGone
from actors.tokenizer import load_tokenizer
from deepprune.answers.reply import ANSWER_START, closing_text, split_reply
from deepprune.config import LimitsConfig, SamplingConfig, VllmGeneratorConfig
from deepprune.policy_config import ConsConfig
from deepprune.session import Outcome
from deepprune.traces import Problem
from tests.support.in_process import InProcess
from tests.support.standin_models import DEEPSEEK_TEMPLATE, HARMONY, byte_level

PROBLEM = Problem("unit/0", "What is 6 times 7?", "42")
FINAL = "<|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "prompt", "closing"),
    [
        ("<think>so", "", "\n</think>\n\n"),
        ("so", "<|im_start|>assistant\n<think>\n", "\n</think>\n\n"),
        ("", "<think>\n", "\n</think>\n\n"),
        ("[THINK]so", "", "\n[/THINK]"),
        ("<|channel>thought\nso", "", "\n<channel|>"),
        ("<|begin_of_thought|>so", "", "\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n"),
        ("<|channel|>analysis<|message|>so", "", f"<|end|>{FINAL}"),
        ("<|channel|>analysis<|message|>so<|end|>", "", FINAL),
        ("<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>", "", FINAL[29:]),
        ("<|channel|>", "", FINAL[29:]),
        ("<|channel|>commentary to=f <|message|>{", "", None),
        (f"<|channel|>analysis<|message|>so<|end|>{FINAL}4", "", None),
        ("<think>so</think>\n\n", "", None),
        ("so</think>4", "<think>", None),
        ("so 4", "", None),
        ("so 4", "Tell me of <think>, please.", None),
        ("", "", None),
    ],
)
def test_a_thought_is_closed_by_its_own_format(text, prompt, closing):
    assert closing_text(text, prompt) == closing
    if closing is not None:
        assert split_reply(f"{text}{closing}\\boxed{{4}}").content == "\\boxed{4}"


class ScriptedEngine:
    """An engine that thinks on until its prompt holds the answer's start, which it then ends.

    `dies_after` lists tokens after which each request is lost, one after another.
    """

    def __init__(self, tokenizer: Any, context: int = 4096, dies_after: tuple[int, ...] = ()):
        self.model_config = SimpleNamespace(max_model_len=context)
        self.prompts: list[list[int]] = []
        self.num_generated = 0
        self.thinking = asyncio.Event()
        self._dies_after = list(dies_after)
        self._aborted: set[str] = set()
        self._encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
        self._start = self._encode(ANSWER_START)
        self._thought, self._answer = self._encode(" so")[0], self._encode("42}.")
        self._opening = self._encode("<think>")

    async def generate(
        self, prompt: Any, params: Any, request_id: str, priority: int
    ) -> AsyncGenerator[Any]:
        ids, context = prompt["prompt_token_ids"], self.model_config.max_model_len
        if len(ids) >= context:
            raise ValueError("the prompt is longer than the context")
        self.prompts.append(ids)
        dies_after = self._dies_after.pop(0) if self._dies_after else None
        answers = ids[-len(self._start) :] == self._start
        script = self._answer if answers else [*self._opening, *[self._thought] * 10_000]
        for number, token in enumerate(script, 1):
            await asyncio.sleep(0)
            if number - 1 == dies_after:
                yield self._output(ids, [], "abort")
                return
            self.num_generated += 1
            full = number == params.max_tokens or len(ids) + number == context
            finish = "length" if full else None
            if request_id in self._aborted:
                finish = "abort"
            elif answers and number == len(script):
                finish = "stop"
                yield self._output(ids, [token, 0], finish)
                self.num_generated += 1
                return
            yield self._output(ids, [token], finish)
            if number == 50:
                self.thinking.set()
            if finish:
                return

    def _output(self, ids: list[int], tokens: list[int], finish: str | None) -> Any:
        part = SimpleNamespace(token_ids=tokens, logprobs=None, finish_reason=finish)
        return SimpleNamespace(
            outputs=[part], num_cached_tokens=0, prompt_token_ids=ids, finished=finish is not None
        )

    async def abort(self, request_ids: list[str]) -> None:
        self._aborted.update(request_ids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    template = {"bos_token": "<bos>", "chat_template": DEEPSEEK_TEMPLATE}
    path = tmp_path_factory.mktemp("model")
    return byte_level(path, "PreTrainedTokenizerFast", ("<bos>", *HARMONY), **template)


@pytest.fixture
def engines(folder, monkeypatch):
    """Make a replica's generators over a scripted engine."""

    def make(**script: Any) -> tuple[InProcess, ScriptedEngine]:
        engine = ScriptedEngine(load_tokenizer(str(folder)), **script)
        monkeypatch.setattr(generator_module, "start_engine", lambda *_: engine)
        monkeypatch.setattr(server, "replica_name", lambda: "unit")
        config = VllmGeneratorConfig.model_validate(
            {"engine": {"model": str(folder)}, "progress_s": 1e-9}
        )
        return InProcess(Generator(config, None, 60.0)), engine

    return make


async def collected(generators: InProcess, sampling: SamplingConfig) -> Collected:
    traces = collect(
        "k",
        PROBLEM,
        [0],
        0,
        sampling=sampling,
        generators=generators,
        confidence_window=None,
        retries=1,
    )
    (ended,) = [each async for part in traces for each in part]
    return ended


async def test_a_thought_that_spends_its_budget_is_closed_and_answered(engines):
    generators, engine = engines()
    found = await collected(generators, SamplingConfig(max_tokens=200, answer_tokens=50))
    trace = found.trace
    assert found.error is None and trace.answer == "42" and trace.finish_reason == "stop"
    assert trace.text.endswith(f" so\n</think>\n\n{ANSWER_START}42}}.")
    assert trace.closed_tokens == 150
    assert trace.num_tokens == engine.num_generated < 200, "what closes it was not generated"
    first, second = engine.prompts
    appended = len(second) - len(first) - 150
    assert len(trace.token_ids) == trace.num_tokens + appended, "but it is part of the trace"


async def test_without_answer_tokens_a_thought_is_cut(engines):
    generators, engine = engines()
    found = await collected(generators, SamplingConfig(max_tokens=200))
    assert found.trace.answer is None and found.trace.finish_reason == "length"
    assert len(engine.prompts) == 1 and found.trace.closed_tokens is None


async def test_a_short_context_shortens_the_thought(engines):
    generators, engine = engines(context=120)
    found = await collected(generators, SamplingConfig(max_tokens=200, answer_tokens=100))
    assert found.trace.answer == "42"
    assert found.trace.closed_tokens == (120 - len(engine.prompts[0])) // 2


@pytest.mark.parametrize("dies_after", [(20,), (150, 1), (150, 0)])
async def test_an_engine_that_dies_changes_nothing_of_it(engines, dies_after):
    generators, engine = engines(dies_after=dies_after)
    found = await collected(generators, SamplingConfig(max_tokens=200, answer_tokens=50))
    assert found.trace.closed_tokens == 150
    assert found.trace.text.count("</think>") == 1
    assert found.trace.num_tokens == engine.num_generated


def live(generators: Any, sampling: SamplingConfig, num_traces: int) -> Any:
    from actors.driver.live import LiveProblem

    return LiveProblem(
        key="p0",
        problem=PROBLEM,
        policy=ConsConfig(num_traces=num_traces),
        sampling=sampling,
        generators=generators,
        judges=None,
        limits=LimitsConfig(),
    )


async def test_when_time_runs_out_thoughts_are_closed_and_the_bill_is_exact(engines):
    generators, engine = engines()
    problem = live(generators, SamplingConfig(max_tokens=9_000, answer_tokens=50), 3)
    running = asyncio.create_task(problem.run())
    await engine.thinking.wait()
    problem.close_thoughts()
    outcome: Outcome = await asyncio.wait_for(running, 30)
    assert outcome.answer == "42" and outcome.ledger.finished_traces == 3
    assert outcome.ledger.generated_tokens == engine.num_generated
    assert outcome.ledger.late_tokens == 0
    prompts = sum(map(len, engine.prompts))
    assert outcome.ledger.prompt_computed_tokens == prompts, "what closes it was read"
    assert all(trace.closed_tokens for trace in problem.traces.values())


async def test_time_that_runs_out_closes_nothing_where_it_is_off(engines):
    generators, engine = engines()
    problem = live(generators, SamplingConfig(max_tokens=300), 2)
    running = asyncio.create_task(problem.run())
    await engine.thinking.wait()
    problem.close_thoughts()
    outcome = await asyncio.wait_for(running, 30)
    assert outcome.answer is None and len(engine.prompts) == 2


async def test_an_engine_that_is_lost_while_it_closes_is_no_endless_loop(engines):
    generators, engine = engines(dies_after=(150, 0, 0, 0))
    found = await collected(generators, SamplingConfig(max_tokens=200, answer_tokens=50))
    assert found.error and EngineGone.__name__ not in found.error
    assert len(engine.prompts) == 3


def test_a_budget_that_is_all_answer_is_refused():
    with pytest.raises(ValidationError, match="answer_tokens 100 leaves no thought"):
        SamplingConfig(max_tokens=100, answer_tokens=100)


async def test_where_the_context_has_no_room_left_a_thought_is_not_closed(engines):
    generators, engine = engines(context=75)
    problem = live(generators, SamplingConfig(max_tokens=9_000, answer_tokens=1), 1)
    outcome: Outcome = await asyncio.wait_for(problem.run(), 30)
    assert outcome.ledger.finished_traces == 1 and outcome.answer is None
    assert max(map(len, engine.prompts)) < 75
