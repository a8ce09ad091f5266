"""What can be known to be wrong before an engine starts: models, prompts, answer tokens.

Everything here takes seconds and no GPU, so that a mistake costs seconds and no GPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors.models import judge_prompt, resolve_model
from cluster.placement import place
from deepprune.checkpoints import CheckpointSpec
from deepprune.config import (
    DeepPruneConfig,
    EndpointGeneratorConfig,
    EngineConfig,
    PolicyConfig,
    RunConfig,
)
from deepprune.errors import UserError
from deepprune.traces import Problem

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Refuse what cannot work.

    Raises:
        UserError: with one line that says what to change.
    """
    for problem in problems:
        if not problem.text.strip():
            raise UserError(
                f"{problem.problem_id}: the problem is empty; give a question to answer"
            )
    place(config)
    _check_checkpoint(config.policy, config.generator.sampling.max_tokens)
    if config.judge is not None:
        _check_judge(config.judge.engine, judge_prompt(config.judge))
    if isinstance(config.generator, EndpointGeneratorConfig):
        from actors.endpoint import EndpointGenerators

        asyncio.run(EndpointGenerators(config.generator).check())
    else:
        _check_generator(config.generator.engine, problems)


def with_calibrated_tau(config: RunConfig) -> RunConfig:
    """The configuration with the judge's own tau where the policy names none."""
    policy = config.policy
    if not isinstance(policy, DeepPruneConfig) or policy.tau is not None or config.judge is None:
        return config
    tau = judge_prompt(config.judge).tau
    return config.model_copy(update={"policy": policy.model_copy(update={"tau": tau})})


def _check_checkpoint(policy: PolicyConfig, max_tokens: int) -> None:
    if not isinstance(policy, DeepPruneConfig):
        return
    spec = CheckpointSpec.parse(policy.checkpoint)
    if spec.kind == "tokens" and spec.count >= max_tokens:
        raise UserError(
            f"policy.checkpoint {policy.checkpoint} is not before the end of a trace "
            f"(generator.sampling.max_tokens {max_tokens}): lower the one or raise the other"
        )


def _check_judge(engine: EngineConfig, prompt: Any) -> None:
    from actors.judge import answer_token_id

    tokenizer = load_tokenizer(engine.model)
    for answer in (prompt.same_token, prompt.different_token):
        answer_token_id(tokenizer, answer)


def _check_generator(engine: EngineConfig, problems: Sequence[Problem]) -> None:
    from actors.generator import prompt_token_ids

    tokenizer = load_tokenizer(engine.model)
    context = engine.max_model_len or _context(engine.model)
    for problem in problems:
        num_tokens = len(prompt_token_ids(tokenizer, problem.text))
        if context is not None and num_tokens >= context:
            raise UserError(
                f"{problem.problem_id}: its prompt has {num_tokens} tokens, and {engine.model} has "
                f"a context of {context}: shorten the problem or raise max_model_len"
            )


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: there is no such model, or no hub to fetch it from.
    """
    from transformers import AutoTokenizer

    return _from_hub(AutoTokenizer, model)


def _context(model: str) -> int | None:
    from transformers import AutoConfig

    config: PretrainedConfig = _from_hub(AutoConfig, model)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return None if length is None else int(length)


def _from_hub(loader: Any, model: str) -> Any:
    folder = resolve_model(model)
    try:
        return loader.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load model {model!r}: it is no folder here, and the hub does not give it "
            f"({' '.join(str(error).split())[:160]})"
        ) from None
