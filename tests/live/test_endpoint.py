"""An endpoint that already runs: vLLM's own OpenAI server, on CPU, as a user would start it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from actors.driver.live import LiveProblem
from actors.generators.endpoint import EndpointGenerators
from actors.messages import EngineGone, TraceRequest
from deepprune.checkpoints import CheckpointSpec, truncate
from deepprune.config import EndpointGeneratorConfig, LimitsConfig, SamplingConfig
from deepprune.errors import UserError
from deepprune.policy_config import ConsConfig
from tests.support.free_port import free_port
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.live

MODEL = str(Path(__file__).parents[2] / "miniature" / "models" / "reasoner")
SAMPLING = SamplingConfig(temperature=1.0, top_p=1.0, max_tokens=300)


class Server:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def generators(self, stall_s: float | None = None, **changes: object) -> EndpointGenerators:
        fields = {"kind": "endpoint", "url": f"{self.url}/v1", "model": "reasoner"} | changes
        return EndpointGenerators(EndpointGeneratorConfig.model_validate(fields), stall_s)

    def metric(self, name: str) -> float:
        metrics = httpx.get(f"{self.url}/metrics").text
        (value,) = re.findall(rf"^vllm:{name}\{{.*\}} (\S+)$", metrics, re.MULTILINE)
        return float(value)

    async def at_rest(self) -> float:
        """The tokens generated so far, once nothing runs and no more come."""
        tokens, deadline = -1.0, time.monotonic() + HANG_S
        while self.metric("num_requests_running") > 0 or tokens != (
            tokens := self.metric("generation_tokens_total")
        ):
            assert time.monotonic() < deadline, "the server goes on"
            await asyncio.sleep(1)
        return tokens

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL),
        *("--served-model-name", "reasoner", "--dtype", "float32", "--enforce-eager"),
        *("--max-model-len", "512", "--no-enable-chunked-prefill"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    running = Server(process, port)
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()[-4000:]
            return healthy(running.url)

        wait_for(is_up, every=0.5, progress=lambda: log.stat().st_size)
        yield running
    finally:
        if process.poll() is None:
            running.kill()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def request(problems, **fields) -> TraceRequest:
    return TraceRequest("r", problems[0].text, SAMPLING, seed=5, **fields)


def numbered(problems, seed: int) -> TraceRequest:
    return replace(request(problems), request_id=f"r{seed}", seed=seed)


async def collect(generators: EndpointGenerators, trace: TraceRequest) -> list:
    return [update async for update in generators.stream(trace)]


async def test_a_whole_trace_comes_to_its_end(server, problems):
    generators = server.generators()
    await generators.check()
    updates = await collect(generators, request(problems))
    text = "".join(update.text for update in updates)
    assert updates[-1].finish_reason == "stop"
    assert "\\boxed" in text
    assert 50 < updates[-1].num_tokens < 300


async def test_a_paused_trace_has_exactly_its_checkpoint_and_goes_on_from_there(server, problems):
    generators = server.generators()
    (paused,) = await collect(generators, request(problems, checkpoint="tokens:32", pause=True))
    assert paused.num_tokens == 32
    assert paused.prefix_chars == len(paused.text)
    assert paused.finish_reason is None
    resumed = await collect(
        generators, request(problems, prefix_text=paused.text, prefix_num_tokens=32)
    )
    text = paused.text + "".join(update.text for update in resumed)
    assert resumed[-1].finish_reason == "stop"
    assert resumed[-1].num_tokens > 32
    assert text.count("\\boxed") == 1, text


async def test_a_seeded_trace_repeats(server, problems):
    texts = []
    for seed in (5, 5, 6):
        updates = await collect(server.generators(), numbered(problems, seed))
        texts.append("".join(update.text for update in updates))
    assert texts[0] == texts[1] != texts[2]


async def test_a_resumed_trace_is_the_trace_that_was_paused(server, problems):
    generators = server.generators(progress_s=HANG_S)  # one update for all of it
    greedy = replace(request(problems), sampling=SAMPLING.model_copy(update={"temperature": 0.0}))
    whole = await collect(generators, greedy)
    (paused,) = await collect(generators, replace(greedy, checkpoint="tokens:32", pause=True))
    assert len(paused.token_ids) == 32
    # Its tokens are what it is resumed from, whatever the chat template would make of its text.
    resumed = await collect(
        generators,
        replace(greedy, prefix_text="...", prefix_token_ids=paused.token_ids, prefix_num_tokens=32),
    )
    text = paused.text + "".join(update.text for update in resumed)
    assert text == "".join(update.text for update in whole)
    assert resumed[-1].num_tokens == whole[-1].num_tokens


@pytest.mark.parametrize("token_ids", [True, False])
async def test_a_resumed_trace_keeps_its_budget(server, problems, token_ids):
    generators = server.generators(progress_s=HANG_S)  # one update for all of it
    short = replace(request(problems), sampling=SAMPLING.model_copy(update={"max_tokens": 48}))
    (paused,) = await collect(generators, replace(short, checkpoint="tokens:32", pause=True))
    resumed = await collect(
        generators,
        replace(
            short,
            prefix_text=paused.text,
            prefix_token_ids=paused.token_ids if token_ids else (),
            prefix_num_tokens=32,
        ),
    )
    assert (resumed[-1].num_tokens, resumed[-1].finish_reason) == (48, "length")


async def test_a_word_checkpoint_is_where_the_whole_text_has_it(server, problems):
    updates = await collect(server.generators(), request(problems, checkpoint="reasoning_words:3"))
    text = "".join(update.text for update in updates)
    (prefix_chars,) = [u.prefix_chars for u in updates if u.prefix_chars is not None]
    assert text[:prefix_chars] == truncate(text, CheckpointSpec.parse("reasoning_words:3"))


async def test_closing_the_streams_ends_the_work(server, problems):
    generators = server.generators(progress_s=0.001)

    async def follow(seed: int, *, to_end: bool) -> None:
        trace = numbered(problems, seed)
        async with aclosing(generators.stream(trace)) as updates:
            async for _ in updates:
                if not to_end:
                    break

    generated = []
    for to_end in (False, True):
        before = await server.at_rest()
        # So many that they last for seconds: a busy machine may be late to hear of the first token.
        await asyncio.gather(*(follow(seed, to_end=to_end) for seed in range(128)))
        generated.append(await server.at_rest() - before)
    closed, whole = generated
    assert closed < whole


async def test_a_server_that_hangs_is_gone(server, problems):
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(HANG_S):
            with pytest.raises(EngineGone):
                await collect(server.generators(stall_s=1.0), request(problems))
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    await server.at_rest()


async def test_a_policy_votes_over_an_endpoint(server, problems):
    live = LiveProblem(
        key="p0",
        problem=problems[0],
        policy=ConsConfig(num_traces=8),
        sampling=SAMPLING,
        generators=server.generators(),
        judges=None,
        limits=LimitsConfig(),
    )
    outcome = await live.run()
    assert outcome.complete
    assert outcome.answer is not None
    assert outcome.ledger.finished_traces == 8


async def test_what_the_endpoint_refuses_is_the_users_to_mend(server, problems):
    with pytest.raises(UserError, match="serves reasoner, not 'other'"):
        await server.generators(model="other").check()
    long = TraceRequest("r", problems[0].text * 40, SAMPLING, seed=1)
    with pytest.raises(UserError, match="512"):
        await collect(server.generators(), long)
    with pytest.raises(UserError, match="NO_SUCH_KEY"):
        await server.generators(api_key_env="NO_SUCH_KEY").check()
    with pytest.raises(UserError, match="does not answer"):
        async with asyncio.timeout(HANG_S):
            await server.generators(url=f"http://127.0.0.1:{free_port()}/v1").check()


async def test_a_server_that_dies_is_gone(server, problems):
    # How many traces are cut off is up to the machine; a stream that is cut for certain is below.
    generators = server.generators(progress_s=0.001)
    begun = asyncio.Event()

    async def follow(seed: int) -> None:
        async for _ in generators.stream(numbered(problems, seed)):
            begun.set()

    traces = [asyncio.create_task(follow(seed)) for seed in range(32)]
    await asyncio.wait_for(begun.wait(), HANG_S)
    server.kill()
    ends = await asyncio.gather(*traces, return_exceptions=True)
    assert all(end is None or isinstance(end, EngineGone) for end in ends), ends
    with pytest.raises(EngineGone):
        await collect(generators, request(problems))
