"""Files to import, and the command."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.cli import main

MAP = "problem=prompt,text=response"
ROWS = [
    {"prompt": "1+1?", "response": "so \\boxed{2}", "final": "2", "gold": 2, "id": 1},
    {"prompt": "1+2?", "response": "so \\boxed{4}", "final": None, "gold": 3, "id": 2},
    {"prompt": "1+1?", "response": "hm", "final": 3, "gold": 2, "id": 1},
]


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def import_(*arguments: str | Path) -> int:
    return main(["import", *map(str, arguments)])


def refusal(capsys, *arguments: str | Path) -> str:
    assert import_(*arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said
