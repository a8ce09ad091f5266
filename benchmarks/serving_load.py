"""Load the endpoint with concurrent clients of every kind on loopback.

Start the miniature models and the endpoint over them; let clients ask, stream, disconnect, cancel
and send invalid requests. Print the responses, latencies, the memory of the endpoint's processes
over time, and the requests that the engines still hold at the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter

import httpx
import psutil
import typer

from tests.support.engines import num_unfinished
from tests.support.served_endpoint import Endpoint, two_models
from tests.support.systems import laptop

MIB = 2**20
SCHEMA = {"type": "object", "properties": {"digit": {"type": "integer"}}, "required": ["digit"]}
POEM = [{"role": "user", "content": "Please write a poem."}]
SPECIAL: list[tuple[str, dict[str, object]]] = [
    (
        "schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": SCHEMA},
            },
            "deepprune": {"n": 4},
        },
    ),
    ("pattern", {"deepprune": {"n": 4, "answer": {"regex": r"boxed.(\d)"}}}),
    ("poem", {"messages": POEM, "deepprune": {"n": 16}}),
    ("deadline", {"deepprune": {"deadline_s": 0.01}}),
    ("reasoning history", {"stream_options": None, "user": "me", "top_k": -1}),
]


class Load:
    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self.endpoint = endpoint
        self.url = f"{endpoint.url}/v1/chat/completions"
        self.ends = time.monotonic() + seconds
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.num_tokens = 0

    async def client(self, seed: int) -> None:
        """One client: a request after the other, of a kind drawn anew each time."""
        draw = random.Random(seed)
        async with httpx.AsyncClient(headers=self.endpoint.headers, timeout=120) as web:
            while time.monotonic() < self.ends:
                kind = draw.choices(
                    [self.ask, self.stream, self.leave, self.nonsense, self.special, self.cancel],
                    [6, 2, 1, 1, 2, 1],
                )
                await kind[0](web, draw)

    def body(self, draw: random.Random, **fields: object) -> dict[str, object]:
        model, n = draw.choice([("pruned", draw.choice([4, 16, 48])), ("voted", 4)])
        return self.endpoint.ask(model=model, deepprune={"n": n}, **fields)

    async def ask(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        began = time.monotonic()
        response = await web.post(self.url, json=self.body(draw))
        self.statuses[f"ask {response.status_code}"] += 1
        if response.status_code == 200:
            self.latencies.append(time.monotonic() - began)
            self.num_tokens += response.json()["usage"]["deepprune"]["generated_tokens"]
        elif response.status_code == 429:
            await asyncio.sleep(min(5, int(response.headers["Retry-After"])))

    async def stream(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        async with web.stream("POST", self.url, json=self.body(draw, stream=True)) as response:
            lines = [line async for line in response.aiter_lines() if line]
        whole = response.status_code != 200 or lines[-1] == "data: [DONE]"
        broken = any(line.startswith('data: {"error"') for line in lines)
        ended = "" if whole and not broken else " broken"
        self.statuses[f"stream {response.status_code}{ended}"] += 1

    async def leave(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        try:
            await web.post(self.url, json=self.body(draw), timeout=draw.uniform(0.05, 1))
            self.statuses["leave, served before"] += 1
        except httpx.TimeoutException:
            self.statuses["leave, left"] += 1

    async def special(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        """JSON by a schema, a pattern, a question without an answer, a deadline too short."""
        name, fields = draw.choice(SPECIAL)
        response = await web.post(self.url, json=self.body(draw) | fields)
        self.statuses[f"{name} {response.status_code}"] += 1

    async def cancel(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        """Cancel a stream by its id."""
        async with web.stream("POST", self.url, json=self.body(draw, stream=True)) as response:
            if response.status_code == 200:
                request_id = response.headers["x-deepprune-request-id"]
                cancelled = await web.delete(
                    f"{self.endpoint.url}/v1/deepprune/requests/{request_id}"
                )
                self.statuses[f"cancel {cancelled.status_code}"] += 1
            lines = [line async for line in response.aiter_lines() if line]
        ended = "" if response.status_code != 200 or lines[-1] == "data: [DONE]" else " broken"
        self.statuses[f"cancelled stream {response.status_code}{ended}"] += 1

    async def nonsense(self, web: httpx.AsyncClient, draw: random.Random) -> None:
        content = draw.choice([b"{", b"\xff", b'{"model": 1}', b"x" * 200_000])
        response = await web.post(self.url, content=content)
        self.statuses[f"nonsense {response.status_code}"] += 1


def memory_mib() -> dict[str, float]:
    """Resident memory of the endpoint's processes, by what they are."""
    sizes: Counter[str] = Counter()
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        line = " ".join(process.info["cmdline"] or [])
        for kind in ("ingress", "history", "generator", "judge"):
            ours = "ray::ServeReplica:deepprune" in line and f":{kind}" in line
            if ours and process.info["memory_info"]:
                sizes[kind] += process.info["memory_info"].rss
        if line.startswith("ray::ProxyActor") and process.info["memory_info"]:
            sizes["proxy"] += process.info["memory_info"].rss
    return {kind: size / MIB for kind, size in sorted(sizes.items())}


async def watch(load: Load, every_s: float) -> list[dict[str, float]]:
    began, rows = time.monotonic(), []
    while time.monotonic() < load.ends:
        await asyncio.sleep(min(every_s, max(0.0, load.ends - time.monotonic())))
        row = {"s": time.monotonic() - began} | memory_mib()
        rows.append(row)
        print("  ".join(f"{name} {value:.0f}" for name, value in row.items()), flush=True)
    return rows


async def run(endpoint: Endpoint, seconds: float, num_clients: int) -> dict[str, object]:
    load = Load(endpoint, seconds)
    clients = (load.client(seed) for seed in range(num_clients))
    rows, _ = await asyncio.gather(watch(load, max(5, seconds / 16)), asyncio.gather(*clients))
    latencies = sorted(load.latencies)
    return {
        "responses": dict(sorted(load.statuses.items())),
        "answers per second": len(latencies) / seconds,
        "tokens per second": load.num_tokens / seconds,
        "latency s": {
            "median": statistics.median(latencies),
            "p95": latencies[int(0.95 * len(latencies))],
            "max": latencies[-1],
        },
        "memory MiB, first and last": [rows[0], rows[-1]],
    }


def main(seconds: float = 60, clients: int = 8) -> None:
    with laptop() as live, two_models(live) as endpoint:
        result = asyncio.run(run(endpoint, seconds, clients))
        result["seconds to rest"] = endpoint.wait_for_rest()
        result["requests held at the end"] = {app: num_unfinished(app) for app in endpoint.apps}
    json.dump(result, sys.stdout, indent=2, default=lambda value: round(value, 2))
    print()


if __name__ == "__main__":
    typer.run(main)
