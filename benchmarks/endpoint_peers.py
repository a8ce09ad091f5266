"""Proxies that spend more on a question, beside each other, before one vLLM server.

    vllm serve ... --port 8001
    python -m benchmarks.endpoint_peers --server http://127.0.0.1:8001 \\
        'ours=http://127.0.0.1:8000 {"model": "voted"}' \\
        'other=http://127.0.0.1:8109 {"model": "reasoner", "budget": 16}'

Each peer is `NAME=URL BODY`, where BODY is the request without its messages. All get the same
questions, one after another. Prints a table: right answers, tokens that the server generated,
seconds, and after a client has left in the middle: the requests that the server still holds a
second later, and the tokens that it still generates.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from deepprune.answers import equivalent, extract_answer
from miniature.problems import generate_problems

TIMEOUT_S = 300.0
LEFT_S = 1.0
"""Seconds after which a server should have noticed that a client has left."""
POLL_S = 0.05


@dataclass
class Server:
    """The vLLM server behind all peers."""

    url: str
    client: httpx.Client

    def metric(self, name: str) -> float:
        """Sum a metric over its labels."""
        text = self.client.get(f"{self.url}/metrics").text
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    def num_tokens(self) -> float:
        """Tokens that it has generated since it started."""
        return self.metric("vllm:generation_tokens_total")

    def num_requests(self) -> float:
        """Requests that it holds."""
        return self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting")

    def settle(self) -> None:
        """Wait until it has held no request for a second: a proxy may send one after another."""
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + LEFT_S:
            if self.num_requests():
                quiet_since = time.monotonic()
            time.sleep(POLL_S)


@dataclass
class Peer:
    """A proxy before the server."""

    name: str
    url: str
    fields: dict[str, Any]

    def body(self, question: str) -> dict[str, Any]:
        """A request for one answer."""
        return self.fields | {"messages": [{"role": "user", "content": question}]}

    def answer(self, question: str) -> str | None:
        """Ask, and read the answer off the response."""
        response = httpx.post(
            f"{self.url}/v1/chat/completions",
            json=self.body(question),
            headers={"Authorization": "Bearer none"},
            timeout=TIMEOUT_S,
        )
        response.raise_for_status()
        content = response.json()["choices"][0]["message"]["content"]
        return extract_answer(content or "", finish_reason="stop")

    def leave(self, question: str, server: Server) -> None:
        """Send a question, and close the connection once the server generates for it."""
        before = server.num_tokens()
        content = json.dumps(self.body(question)).encode()
        address = urlsplit(self.url)
        assert address.hostname is not None and address.port is not None
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
            "Authorization: Bearer none\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection((address.hostname, address.port)) as line:
            line.sendall(head.encode() + content)
            while server.num_tokens() == before:
                time.sleep(POLL_S)


def measure(peer: Peer, server: Server, num: int) -> str:
    """Return a row of the table."""
    problems = generate_problems(3, num)
    server.settle()
    tokens, began = server.num_tokens(), time.monotonic()
    answers = [peer.answer(problem.text) for problem in problems]
    seconds = time.monotonic() - began
    server.settle()
    tokens = server.num_tokens() - tokens
    right = sum(
        answer is not None and equivalent(answer, str(problem.reference))
        for answer, problem in zip(answers, problems, strict=True)
    )
    peer.leave(problems[0].text, server)
    at_leave = server.num_tokens()
    time.sleep(LEFT_S)
    held = server.num_requests()
    server.settle()
    return (
        f"| {peer.name} | {right} of {num} | {tokens / num:.0f} | {seconds / num:.2f} "
        f"| {held:.0f} | {server.num_tokens() - at_leave:.0f} |"
    )


def main() -> None:
    """Parse the arguments, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="URL of the vLLM server")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("peers", nargs="+", help="NAME=URL BODY")
    arguments = parser.parse_args()
    server = Server(arguments.server, httpx.Client(timeout=TIMEOUT_S))
    print(
        "| proxy | right | tokens a question | s a question "
        "| requests held 1 s after leaving | tokens after leaving |"
    )
    print("|---|---|---|---|---|---|")
    for described in arguments.peers:
        name, _, rest = described.partition("=")
        url, _, body = rest.partition(" ")
        print(measure(Peer(name, url, json.loads(body)), server, arguments.questions), flush=True)


if __name__ == "__main__":
    main()
