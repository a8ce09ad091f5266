"""`/metrics`: the `deepprune_*` metrics of every process of the cluster.

Each node's Ray agent exports the metrics of its processes. They are merged here, so that one scrape
of any ingress replica has all of them.
"""

from __future__ import annotations

import asyncio
import re

import httpx
import ray

TIMEOUT_S = 5.0
RAY_PREFIX = "ray_"
PREFIX = "deepprune_"
NOISE = re.compile(r'\b(?:Component|SessionName|Version|otel_\w+)="[^"]*",?')
"""Labels that Ray adds to every sample; removed."""


async def exported_metrics() -> str:
    """Return the metrics in Prometheus' text format, without nodes that do not answer."""
    nodes = await asyncio.to_thread(ray.nodes)
    urls = [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"]
    ]
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        pages = await asyncio.gather(*(_page(client, url) for url in urls))
    return merged(pages)


async def _page(client: httpx.AsyncClient, url: str) -> str:
    try:
        response = await client.get(url)
    except httpx.HTTPError:
        return ""
    return response.text if response.is_success else ""


def merged(pages: list[str]) -> str:
    """Merge our lines of several exports: samples by metric, each HELP and TYPE once."""
    families: dict[str, dict[str, None]] = {}
    family = ""
    for line in "\n".join(pages).splitlines():
        words = line.split(" ", 3)
        if words[:2] in (["#", "HELP"], ["#", "TYPE"]):
            family = words[2].removeprefix(RAY_PREFIX)
            line = " ".join([*words[:2], family, *words[3:]])
        elif line.startswith("#"):
            continue
        else:
            line = NOISE.sub("", line.removeprefix(RAY_PREFIX))
        if family.startswith(PREFIX):
            families.setdefault(family, {})[line] = None
    lines = [line for family in sorted(families) for line in families[family]]
    return "\n".join([*lines, ""])
