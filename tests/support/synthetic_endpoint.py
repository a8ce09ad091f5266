"""The endpoint without engines: the real ingress over synthetic traces.

For the page's tests and for its developers: `python -m tests.support.synthetic_endpoint [PORT]`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import uvicorn

from actors.generators.abortable import AbortableGenerators
from actors.messages import JudgeReply, JudgeRequest, TraceRequest, TraceUpdate
from actors.serving.admission import Admission
from actors.serving.http import build_http_app
from actors.serving.keys import Keyring
from actors.serving.request_history import RequestHistory
from actors.serving.request_runner import ServedModel
from actors.serving.service import RequestService
from actors.serving.spec import offer_of
from deepprune.config import load_config
from deepprune.serve_config import parse_serve_config
from tests.support.free_port import free_port
from tests.support.served_endpoint import configuration

HOSTILE = "<img src=x onerror=alert(1)>"
ANSWERS = (HOSTILE, "8", "0", "6", "\\frac{1}{2}", "4", "3")
WEIGHTS = (40, 14, 8, 4, 3, 2, 1)


class MadeUp(AbortableGenerators):
    """Generators of traces that go one of a few ways, and the judge that reads which."""

    def __init__(self, tokens_per_s: float) -> None:
        super().__init__()
        self._tokens_per_s = tokens_per_s

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        way = re.search(r"way (\d)", request.prefix_text)
        rng = random.Random(request.seed)
        drawn = rng.choices(range(len(ANSWERS)), WEIGHTS)[0]
        num = int(way[1]) if way else drawn
        length = 150 + rng.randrange(-14, 30)
        checkpoint = int(request.checkpoint.partition(":")[2]) if request.checkpoint else 0
        tokens, text = request.prefix_num_tokens, request.prefix_text
        speed = (
            self._tokens_per_s * rng.uniform(0.75, 1.3) / (100 if "slow" in request.problem else 1)
        )
        while tokens < length:
            target = checkpoint if tokens < checkpoint else length
            step = min(max(1, round(speed * 0.1)), target - tokens)
            await asyncio.sleep(step / speed)
            more = f"I try way {num}. {HOSTILE} " if not text else "wait, then " * step
            text += more
            tokens += step
            here = tokens == checkpoint
            yield TraceUpdate(more, (), tokens, prefix_chars=len(text) if here else None)
            if here and request.pause:
                return
        said = f"so it is \\boxed{{{ANSWERS[num]}}}"
        if request.sampling.json_schema is not None:
            said = json.dumps({"answer": num})
        if "think" in request.problem:
            said = f"</think>\n\n{said}"
        calls = ""
        if request.prompt_options.tools and not any(m.role == "tool" for m in request.chat):
            function = {"name": "look_up", "arguments": json.dumps({"way": num})}
            calls = json.dumps([{"type": "function", "function": function}])
        yield TraceUpdate(said, (), tokens, finish_reason="stop", tool_calls=calls)

    async def score(self, request: JudgeRequest) -> JudgeReply:
        await asyncio.sleep(0.15)
        same = tuple(
            0.95 if first[:12] == request.second[:12] else 0.04 for first in request.firsts
        )
        return JudgeReply(same, 60 * len(same), 40 * len(same))


def service(folder: Path, keys: list[str], tokens_per_s: float) -> RequestService:
    """The ingress's service in this process."""
    run = load_config("cluster/laptop-pairwise.yaml", {"policy.num_traces": 32})
    config = parse_serve_config(configuration(folder, run, free_port()), "stand")
    kept = RequestHistory(config.history)
    methods = ("write", "list", "read", "cancel")
    history = SimpleNamespace(
        **{name: SimpleNamespace(remote=getattr(kept, name)) for name in methods}
    )
    made_up = MadeUp(tokens_per_s)
    models = {
        name: ServedModel(
            config=config.run(name),
            offer=replace(offer_of(config, name), tools=True),
            generators=made_up,
            judges=made_up if config.models[name].judge else None,
            replica=None,
            pool=None,
            admission=Admission(config.models[name].queue, len(keys)),
        )
        for name in config.models
    }
    return RequestService(config, models, Keyring(keys), history, "replica")


@contextmanager
def standing(
    folder: Path, *, keys: list[str], tokens_per_s: float = 100, port: int = 0
) -> Iterator[str]:
    """Serve from a thread; the URL."""
    port = port or free_port()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        stand = service(folder, keys, tokens_per_s)
        writing = asyncio.create_task(stand.write_history())
        app = build_http_app(stand)
        servers.append(uvicorn.Server(uvicorn.Config(app, port=port, log_level=logging.WARNING)))
        await servers[0].serve()
        writing.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not (servers and servers[0].started):
        assert thread.is_alive(), "the stand does not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        servers[0].should_exit = servers[0].force_exit = True
        thread.join(timeout=30)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as made,
        standing(Path(made), keys=[], port=int(sys.argv[1]) if sys.argv[1:] else 0) as url,
    ):
        print(url, flush=True)
        threading.Event().wait()
