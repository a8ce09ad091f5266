"""The pairwise judge as a module: a causal language model that is asked for one of two tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actors.judges.padding import Prompt, scoring_batches, tokens_at_once
from actors.language_model import without_adapters
from actors.models import JUDGE_FILE
from deepprune.config import JudgePrompt
from deepprune.statistics import Floats, Ints, grouped
from training.learners.base_model import save_language_model
from training.learners.batches import Prompts, collate

PAIRS_AT_ONCE = 64
"""Pairs that share the keys and values of their beginning; bounds the memory they take."""


class JudgeModel(nn.Module):
    """A language model's logits for the two answers, at the end of each prompt.

    The head is applied to those positions only: a vocabulary of logits for every token of a pair
    would take more memory than the model.
    """

    def __init__(self, language_model: Any, answer_ids: tuple[int, int]) -> None:
        super().__init__()
        self.language_model = language_model
        self.answer_ids = answer_ids

    def forward(self, tokens: Tensor, last: Tensor, read: Tensor | None = None) -> Any:
        """(batch, 2) logits, "different" first, of prompts (batch, length) that end at `last`.

        With `read`, (batch, length), also the mean cross-entropy of predicting these tokens.
        """
        hidden = self._bare().get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        logits = self._answer_logits(hidden, last)
        if read is None:
            return logits
        inside = read[:, 1:]
        predicted = self._bare().get_output_embeddings()(hidden[:, :-1][inside]).float()
        return logits, nn.functional.cross_entropy(predicted, tokens[:, 1:][inside])

    def continued(self, beginning: Tensor, tokens: Tensor, last: Tensor) -> Tensor:
        """The same for prompts that all start with `beginning`, (1, shared), computed once."""
        from transformers import DynamicCache

        decoder = self._bare().get_decoder()
        cache = DynamicCache(config=decoder.config)
        if beginning.shape[1]:
            decoder(input_ids=beginning, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(tokens))
        out = decoder(input_ids=tokens, past_key_values=cache, use_cache=True)
        return self._answer_logits(out.last_hidden_state, last)

    def _answer_logits(self, hidden: Tensor, last: Tensor) -> Tensor:
        ends = hidden[torch.arange(len(last), device=last.device), last]
        return answer_logits(self._bare().get_output_embeddings(), ends, list(self.answer_ids))

    def _bare(self) -> Any:
        return without_adapters(self.language_model)


def answer_logits(head: Any, hidden: Tensor, answer_ids: list[int]) -> Tensor:
    """(batch, answers): logits in float32 of hidden states (batch, width).

    A bf16 logit has steps of 0.03 to 0.125: pairs would tie. The head is called, and its rows are
    read inside of the call, because ZeRO-3 gathers its weights for the time of a call only.
    """

    def in_float32(head: Any, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        bias = None if head.bias is None else head.bias[answer_ids].float()
        return nn.functional.linear(inputs[0].float(), head.weight[answer_ids].float(), bias)

    if type(head) is not nn.Linear:  # with adapters, or quantised: it knows its own rows
        logits: Tensor = head(hidden)
        return logits[:, answer_ids].float()
    hook = head.register_forward_hook(in_float32, prepend=True)
    try:
        rows: Tensor = head(hidden)
    finally:
        hook.remove()
    return rows


def save_judge(language_model: Any, tokenizer: Any, prompt: JudgePrompt, folder: Path) -> None:
    """Write a Hugging Face folder that vLLM loads, with `judge.json` in it; LoRA is merged."""
    save_language_model(language_model, tokenizer, folder)
    save_prompt(prompt, folder)


def save_prompt(prompt: JudgePrompt, folder: Path) -> None:
    """Write `judge.json`: how to ask, at which checkpoint, with which threshold."""
    text = json.dumps(prompt.model_dump(exclude_none=True), indent=2, ensure_ascii=False)
    (folder / JUDGE_FILE).write_text(text + "\n", encoding="utf-8")


@torch.no_grad()
def score_prompts(
    forward: Callable[[Tensor, Tensor], Tensor],
    prompts: Prompts,
    device: torch.device,
    *,
    tokens_per_batch: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> Floats:
    """(pairs,): the judge's log-odds of P(same) of each prompt.

    Several workers share each batch, so that all of them make the same number of calls, as ZeRO-3
    needs. Each returns zeros for the pairs of others: the sum over the workers is the result.
    """
    scores = np.zeros(len(prompts))
    for index in scoring_batches(
        prompts.lengths, (tokens_per_batch or tokens_at_once(device)) * world
    ):
        mine = index[rank::world]
        shown = mine if len(mine) else index[:1]
        unknown = np.zeros(len(shown), dtype=np.bool_)
        batch = collate([prompts[i] for i in shown], unknown, 0)
        logits = forward(batch.tokens.to(device), batch.last.to(device))
        z = (logits[:, 1] - logits[:, 0]).double().cpu().numpy()
        scores[mine] = z[: len(mine)]
    return scores


@torch.no_grad()
def score_sharing(
    module: JudgeModel,
    prompts: Prompts,
    first: Ints,
    device: torch.device,
    on_progress: Callable[[int], None] = lambda num_pairs: None,
) -> Floats:
    """Like `score_prompts` in one process, but what pairs with an equal `first` share is read once.

    The beginning that a group's prompts have in common goes through the model once, and its keys
    and values serve all of them, as the engine's prefix cache does. That saves half of the work
    where each trace meets many others. `on_progress` is told how many more pairs are done.
    """
    scores = np.zeros(len(prompts))
    for group in _groups(first, PAIRS_AT_ONCE):
        shared = _common_length([prompts[i] for i in group])
        rests = [prompts[i][shared:] for i in group]
        batch = collate(rests, np.zeros(len(group), dtype=np.bool_), 0)
        beginning = torch.from_numpy(prompts[group[0]][None, :shared].astype(np.int64))
        logits = module.continued(
            beginning.to(device), batch.tokens.to(device), batch.last.to(device)
        )
        scores[group] = (logits[:, 1] - logits[:, 0]).double().cpu().numpy()
        on_progress(len(group))
    return scores


def _groups(values: Ints, longest: int) -> Iterator[Ints]:
    """Places of an equal value, at most `longest` at once."""
    for group in grouped(values):
        for start in range(0, len(group), longest):
            yield group[start : start + longest]


def _common_length(prompts: Sequence[Prompt]) -> int:
    """Tokens that all prompts begin with, leaving each at least one of its own."""
    length = min(len(prompt) for prompt in prompts) - 1
    for prompt in prompts[1:]:
        differs = np.flatnonzero(prompt[:length] != prompts[0][:length])
        length = int(differs[0]) if len(differs) else length
    return length
