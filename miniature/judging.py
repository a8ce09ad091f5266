"""The judge as it is used: a prompt from two prefixes, and P(same) from its next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from deepprune.config import JudgePrompt
from miniature.judge_spec import CHECKPOINT_TOKENS
from miniature.optimizer import Row, collate
from miniature.sample import Sampled


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prefixes of one problem and whether their traces ended in the same answer."""

    problem: int
    first: str
    second: str
    same: bool


def prefixes_of(sampled: Sampled, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Every trace of a problem cut at the checkpoint."""
    cut = [ids[:CHECKPOINT_TOKENS] for ids in sampled.token_ids]
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in cut]


class Judge:
    """Scores pairs of prefixes with the weights at hand."""

    def __init__(
        self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: JudgePrompt
    ) -> None:
        """Hold the model and find its two answer tokens."""
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.same_id = single_token(tokenizer, prompt.same_token)
        self.different_id = single_token(tokenizer, prompt.different_token)

    def encode(self, first: str, second: str) -> list[int]:
        """The prompt's tokens."""
        text = self.prompt.template.format(first=first, second=second)
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    @torch.inference_mode()
    def p_same(self, pairs: Sequence[tuple[str, str]], batch: int = 256) -> list[float]:
        """P(same) of each pair: the share of the first answer token in the two."""
        prompts = [self.encode(first, second) for first, second in pairs]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        scores = [0.0] * len(prompts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows = [Row(prompts[i], []) for i in chosen]
            tokens, _ = collate(rows, self.tokenizer.pad_token_id)
            last = torch.tensor([len(row.tokens) - 1 for row in rows])
            hidden = self.model.model(input_ids=tokens).last_hidden_state
            logits = self.model.lm_head(hidden[torch.arange(len(rows)), last])
            gap = logits[:, self.same_id] - logits[:, self.different_id]
            gap = self.prompt.slope * gap + self.prompt.shift
            for i, score in zip(chosen, torch.sigmoid(gap).tolist(), strict=True):
                scores[i] = score
        return scores


def single_token(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    """The id of a word that must be one token."""
    ids = tokenizer.encode(word, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"{word!r} is {len(ids)} tokens; the judge's answer must be one")
    return int(ids[0])
