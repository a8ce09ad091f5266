"""Train the reasoner from nothing on generated problems and their worked solutions.

First it learns to calculate, from correct solutions; then to err, from a careless author's.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from miniature.model import new_model, num_parameters
from miniature.optimizer import IGNORE, Optimizer, Row, batches, collate, token_loss
from miniature.problems import Example, generate_examples
from miniature.tokenizer import prompt_of

BATCH = 32
NUM_STEPS = 2050
CARELESS_SHARE = 0.12
LEARNING_RATE, CARELESS_LEARNING_RATE = 4e-3, 1.5e-3

logger = logging.getLogger(__name__)


def train_reasoner(
    tokenizer: PreTrainedTokenizerFast, num_steps: int = NUM_STEPS, seed: int = 0
) -> LlamaForCausalLM:
    """Two passes over fresh examples, each with its own schedule."""
    model = new_model(tokenizer, seed)
    logger.info("reasoner: %.2fM parameters, %d steps", num_parameters(model) / 1e6, num_steps)
    num_careless = round(num_steps * CARELESS_SHARE)
    correct = generate_examples(seed, (num_steps - num_careless) * BATCH)
    careless = generate_examples(seed + 1, num_careless * BATCH, careless=True)
    _learn(model, tokenizer, correct, LEARNING_RATE, seed)
    _learn(model, tokenizer, careless, CARELESS_LEARNING_RATE, seed)
    return model.eval()


def _learn(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    lr: float,
    seed: int,
) -> None:
    """One pass over the examples; the loss is on the solutions only."""
    rows = [_row(tokenizer, example) for example in examples]
    optimizer = Optimizer(model, lr, len(rows) // BATCH)
    started, recent = time.monotonic(), 0.0
    model.train()
    for step, batch in enumerate(batches(rows, BATCH, random.Random(seed)), start=1):
        tokens, targets = collate(batch, tokenizer.pad_token_id)
        loss = token_loss(model(input_ids=tokens).logits, targets)
        optimizer.step(loss)
        recent += loss.item()
        if step % 50 == 0:
            minutes = (time.monotonic() - started) / 60
            logger.info("step %d  loss %.4f  %.1f min", step, recent / 50, minutes)
            recent = 0.0


def _row(tokenizer: PreTrainedTokenizerFast, example: Example) -> Row:
    prompt = tokenizer.encode(prompt_of(tokenizer, example.problem.text))
    solution = [*tokenizer.encode(example.solution), tokenizer.eos_token_id]
    return Row(prompt + solution, [IGNORE] * len(prompt) + solution)
