"""How the miniature's judge is asked, and where prefixes are cut for it."""

from __future__ import annotations

from deepprune.config import JudgePrompt
from miniature.tokenizer import BOS, DIFFERENT_TOKEN, FIRST, SAME_TOKEN, SECOND, VERDICT

CHECKPOINT_TOKENS = 54

PROMPT = JudgePrompt(
    template=f"{BOS}{FIRST}{{first}}{SECOND}{{second}}{VERDICT}",
    same_token=SAME_TOKEN,
    different_token=DIFFERENT_TOKEN,
    checkpoint=f"tokens:{CHECKPOINT_TOKENS}",
)
