"""What `judge.json` says: how to ask the judge, where prefixes are cut, which threshold to use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from miniature.tokenizer import BOS, DIFFERENT_TOKEN, FIRST, SAME_TOKEN, SECOND, VERDICT

CHECKPOINT_TOKENS = 54
SPEC_FILE = "judge.json"


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """What someone needs to know to ask this judge; it is saved beside the weights."""

    template: str = f"{BOS}{FIRST}{{first}}{SECOND}{{second}}{VERDICT}"
    same_token: str = SAME_TOKEN
    different_token: str = DIFFERENT_TOKEN
    checkpoint: str = f"tokens:{CHECKPOINT_TOKENS}"
    tau: float = 0.5
    add_special_tokens: bool = False

    def prompt(self, first: str, second: str) -> str:
        """The text the judge reads; the earlier trace goes first, so that its part is cached."""
        return self.template.format(first=first, second=second)

    def with_tau(self, tau: float) -> JudgeSpec:
        """The same judge with another threshold."""
        return replace(self, tau=tau)

    def save(self, folder: Path) -> None:
        """Write the specification beside the weights."""
        (folder / SPEC_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> JudgeSpec:
        """Read the specification beside the weights."""
        return cls(**json.loads((folder / SPEC_FILE).read_text()))
