"""Train the judge on pairs of unfinished traces that the reasoner sampled.

It starts from the reasoner's weights. Besides the verdict it keeps modelling the second prefix
given the first, which teaches it to find the same step in the other trace, so as to compare them.
"""

from __future__ import annotations

import copy
import itertools
import logging
import random
import time
from collections.abc import Sequence

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from miniature.judge_spec import JudgeSpec
from miniature.judging import Judge, Pair, prefixes_of
from miniature.optimise import IGNORE, Optimiser, Row, batches, collate, token_loss
from miniature.sample import Sampled
from miniature.tokenizer import SECOND

LEARNING_RATE = 2e-3
BATCH = 32
NUM_STEPS = 1600
READING_WEIGHT = 0.3

logger = logging.getLogger(__name__)


def make_pairs(
    sampled: Sequence[Sampled], tokenizer: PreTrainedTokenizerFast, per_problem: int, seed: int
) -> list[Pair]:
    """Pairs within each problem, in random order, labelled by whether the boxed answers agree."""
    rng = random.Random(f"pairs-{seed}")
    pairs = []
    for j, item in enumerate(sampled):
        prefixes = prefixes_of(item, tokenizer)
        answers = [trace.answer for trace in item.traces]
        usable = [i for i, answer in enumerate(answers) if answer is not None]
        every = list(itertools.combinations(usable, 2))
        for a, b in rng.sample(every, min(per_problem, len(every))):
            if rng.random() < 0.5:
                a, b = b, a
            pairs.append(Pair(j, prefixes[a], prefixes[b], answers[a] == answers[b]))
    return pairs


def train_judge(
    reasoner: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    num_steps: int = NUM_STEPS,
    seed: int = 0,
) -> LlamaForCausalLM:
    """Cross-entropy on the answer token, plus a share of the loss of reading the second prefix."""
    model = copy.deepcopy(reasoner)
    judge = Judge(model, tokenizer, JudgeSpec())
    rng = random.Random(f"judge-{seed}")
    chosen = rng.sample(pairs, min(len(pairs), num_steps * BATCH))
    rows = [_row(judge, pair) for pair in chosen]
    num_steps = -(-len(rows) // BATCH)
    logger.info("judge: %d pairs, %d steps", len(rows), num_steps)
    optimiser = Optimiser(model, LEARNING_RATE, num_steps)
    started, recent = time.monotonic(), 0.0
    model.train()
    for step, batch in enumerate(batches(rows, BATCH, rng), start=1):
        tokens, targets = collate(batch, tokenizer.pad_token_id)
        logits = model(input_ids=tokens).logits
        is_verdict = (targets == judge.same_id) | (targets == judge.different_id)
        verdict = token_loss(logits, targets.masked_fill(~is_verdict, IGNORE))
        reading = token_loss(logits, targets.masked_fill(is_verdict, IGNORE))
        optimiser.step(verdict + READING_WEIGHT * reading)
        recent += verdict.item()
        if step % 50 == 0:
            minutes = (time.monotonic() - started) / 60
            logger.info("step %d  verdict loss %.4f  %.1f min", step, recent / 50, minutes)
            recent = 0.0
    return model.eval()


def _row(judge: Judge, pair: Pair) -> Row:
    prompt = judge.encode(pair.first, pair.second)
    start = prompt.index(judge.tokenizer.convert_tokens_to_ids(SECOND)) + 1
    answer = judge.same_id if pair.same else judge.different_id
    targets = [IGNORE] * start + prompt[start:-1] + [IGNORE, answer]
    return Row([*prompt, answer], targets)
