"""Rooms import one way, and `--help` and the method load no heavy package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACTORS = "deepprune cluster actors"
ENGINES = f"{ACTORS} actors.channels actors.replica"
DRIVER = f"{ENGINES} actors.generators actors.judges actors.driver"
DEPLOYED = f"{DRIVER} actors.deploy"
TRAINING = f"{DEPLOYED} training training.pairs training.learners training.offline"
JOBS = f"{TRAINING} miniature jobs.render"
ROOMS = {
    "deepprune": "",
    "cluster": "deepprune",
    "actors": "deepprune cluster",
    "actors.channels": ACTORS,
    "actors.replica": ACTORS,
    "actors.generators": ENGINES,
    "actors.judges": ENGINES,
    "actors.driver": f"{ENGINES} actors.generators actors.judges",
    "actors.deploy": DRIVER,
    "actors.serving": DEPLOYED,
    "training": "deepprune",
    "training.pairs": f"{ACTORS} training",
    "training.learners": f"{ENGINES} actors.judges training training.pairs",
    "training.offline": f"{ENGINES} actors.judges training training.pairs training.learners",
    "miniature": TRAINING,
    "jobs.render": DRIVER,
    "jobs.storage": f"{DRIVER} miniature jobs.render",
    "jobs.report": f"{JOBS} jobs.storage",
    "jobs.sample": f"{JOBS} actors.serving jobs.storage jobs.report",
    "jobs.sweep": f"{JOBS} jobs.storage jobs.report jobs.sample",
    "jobs.judge": f"{JOBS} jobs.storage jobs.report jobs.sample",
    "jobs.check": JOBS,
    "jobs.cli": f"{JOBS} jobs.storage jobs.report jobs.sample jobs.sweep jobs.judge jobs.check",
    "jobs": "jobs.cli",
    "benchmarks": f"{JOBS} actors.serving jobs.storage jobs.report jobs.sample jobs.sweep tests",
    "tests": "",
}
"""Each room and the rooms that it may import; a room within a room has a line of its own."""

HEAVY = {"ray", "torch", "vllm", "transformers", "deepspeed"}
NETWORK = {"socket", "http", "urllib", "requests", "aiohttp", "httpx", "openai"}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in {room.partition(".")[0] for room in ROOMS} - {"tests"}
    for path in sorted((ROOT / top).rglob("*.py"))
}


def room_of(module: str) -> str:
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """The modules that a module imports, and whether it does so when it is imported itself."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    at_top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in SOURCES else node.module, node in at_top


IMPORTED = {module: sorted(set(imports(module))) for module in SOURCES}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    allowed = {room, *ROOMS[room].split()}
    reached = {
        f"{module} imports {name}"
        for module in SOURCES
        if room_of(module) == room
        for name, _ in IMPORTED[module]
        if (name in SOURCES or name.startswith("tests.")) and room_of(name) not in allowed
    }
    assert not reached


def test_the_rooms_are_in_layers():
    order = TopologicalSorter({room: below.split() for room, below in ROOMS.items()})
    assert {*order.static_order()} == set(ROOMS)


def test_no_two_modules_import_each_other():
    """Nor do more of them in a circle, inside functions and for types alone included."""
    order = TopologicalSorter(
        {
            module: {name for name, _ in names if name in SOURCES and name != module}
            for module, names in IMPORTED.items()
        }
    )
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_command_refuses_a_mistake_before_it_loads_a_heavy_package():
    """Follow the imports that a command makes before it calls its job."""
    to_follow = [module for module in SOURCES if room_of(module) == "jobs.cli"]
    loaded = {name for module in to_follow for name, _ in IMPORTED[module]} & set(SOURCES)
    to_follow = list(loaded)
    while to_follow:
        at_top = {name for name, is_at_top in IMPORTED[to_follow.pop()] if is_at_top}
        to_follow += (at_top & set(SOURCES)) - loaded
        loaded |= at_top
    assert len(loaded) > 50
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


def test_the_method_can_be_imported_whole_without_a_heavy_package_or_another_room():
    modules = [module for module in SOURCES if room_of(module) == "deepprune"]
    others = {room.partition(".")[0] for room in ROOMS} - {"deepprune"}
    program = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(*sorted(loaded & {HEAVY | others}))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def outside(module: str) -> set[str]:
    """The top-level packages that a module imports, at its top or inside a function."""
    return {name.partition(".")[0] for name, _ in IMPORTED[module]}


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) == "deepprune"])
def test_the_method_uses_no_heavy_package_and_no_network(module):
    assert outside(module).isdisjoint(HEAVY | NETWORK)


@pytest.mark.parametrize(
    "module",
    ["deepprune.session", *(name for name in SOURCES if name.startswith("deepprune.policies"))],
)
def test_policies_know_no_clock_no_files_and_no_threads(module):
    assert outside(module).isdisjoint(
        {"time", "datetime", "os", "pathlib", "asyncio", "threading", "logging"}
    )
