import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import deepprune

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(deepprune.__path__, prefix="deepprune.")
)
SOURCES = sorted((ROOT / "deepprune").rglob("*.py"))
HEAVY = {"ray", "torch", "vllm", "transformers", "deepspeed"}
OTHER_ROOMS = {"actors", "jobs", "training", "cluster", "miniature", "tests"}
NETWORK = {"socket", "http", "urllib", "requests", "aiohttp", "httpx", "openai"}


def imported(source: Path) -> set[str]:
    """The top-level packages that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_the_method_can_be_imported_whole_without_ray_torch_or_vllm():
    program = f"""
import importlib, sys
for name in {MODULES}:
    importlib.import_module(name)
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(*sorted(loaded & {HEAVY | OTHER_ROOMS}))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_method_reaches_into_no_other_room(source):
    assert imported(source).isdisjoint(HEAVY | OTHER_ROOMS | NETWORK)


@pytest.mark.parametrize(
    "source",
    [ROOT / "deepprune" / "session.py", *sorted((ROOT / "deepprune" / "policies").glob("*.py"))],
    ids=lambda path: path.name,
)
def test_policies_know_no_clock_no_files_and_no_threads(source):
    outside = {"time", "datetime", "os", "pathlib", "asyncio", "threading", "logging"}
    assert imported(source).isdisjoint(outside)
