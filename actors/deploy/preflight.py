"""What can be known to be wrong before an engine starts: models, prompts, answer tokens.

Everything here takes seconds and no GPU, so that a mistake costs seconds and no GPU.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from actors.models import encoder_judge, feature_judge, judge_prompt, resolve_model
from actors.tokenizer import load_file, load_tokenizer, prompt_token_ids, template_reads
from cluster.placement import place
from deepprune.checkpoints import CheckpointSpec
from deepprune.config import (
    EncoderJudgeConfig,
    EndpointGeneratorConfig,
    EngineConfig,
    FeatureJudgeConfig,
    JudgeConfig,
    RunConfig,
    VllmGeneratorConfig,
    VllmJudgeConfig,
)
from deepprune.errors import UserError
from deepprune.policy_config import JudgingConfig, PaperRules, PlusConfig, PolicyConfig
from deepprune.traces import Problem

logger = logging.getLogger(__name__)


def check(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Check a configuration and its problems.

    Raises:
        UserError: they cannot work; one line says what to change.
    """
    for problem in problems:
        if not problem.text.strip():
            raise UserError(
                f"{problem.problem_id}: the problem is empty; give a question to answer"
            )
    place(config)
    if config.judge is not None:
        _check_checkpoint(config.policy, config.generator.sampling.max_tokens)
    for engine in _engines(config):
        resolve_model(engine.model)  # raises if it does not exist
    if isinstance(config.judge, VllmJudgeConfig):
        _check_judge(config.judge.engine, judge_prompt(config.judge))
    elif isinstance(config.judge, FeatureJudgeConfig):
        feature_judge(config.judge)
    elif config.judge is not None:
        encoder_judge(config.judge)
    if isinstance(config.generator, EndpointGeneratorConfig):
        from actors.generators.endpoint import EndpointGenerators

        asyncio.run(EndpointGenerators(config.generator).check())
    else:
        _check_generator(config.generator, problems)


def with_calibration(config: RunConfig) -> RunConfig:
    """Fill fields that the policy leaves open from the judge's calibration."""
    if config.judge is None or not isinstance(config.policy, PaperRules | PlusConfig):
        return config
    known = _known(config.judge)
    policy = config.policy
    missing = {
        name: value
        for name, value in known.items()
        if name in type(policy).model_fields and getattr(policy, name) is None
    }
    return config.model_copy(update={"policy": policy.model_copy(update=missing)})


def without_idle_judge(config: RunConfig) -> RunConfig:
    """Without a judge that the policy would not ask, for that is one it does not know the worth of.

    To be called after `with_calibration`.
    """
    policy, judge = config.policy, config.judge
    if judge is None or isinstance(policy, PaperRules):
        return config
    if isinstance(policy, PlusConfig) and policy.asks_judge:
        if not policy.votes_only:
            return config
        known = policy.auroc is not None and policy.base_rate is not None
        logger.warning(
            "judge %s is not asked: %s",
            judge.name,
            f"its AUROC {policy.auroc:.2f} is below policy.least_auroc {policy.least_auroc:g}"
            if known
            else "its AUROC and base rate were never measured; `deepprune evaluate "
            "--save-threshold` does it, or set policy.auroc and policy.base_rate",
        )
    return config.model_copy(update={"judge": None})


def _known(judge: JudgeConfig) -> dict[str, float | None]:
    """The calibration saved with a judge, by the policy's field."""
    if isinstance(judge, FeatureJudgeConfig):
        learned = feature_judge(judge)
        calibration = learned.calibration
        return {
            "tau": learned.tau,
            "base_rate": calibration.base_rate,
            "auroc": calibration.auroc,
        }
    known = encoder_judge(judge) if isinstance(judge, EncoderJudgeConfig) else judge_prompt(judge)
    return {"tau": known.tau, "base_rate": known.base_rate, "auroc": known.auroc}


def _engines(config: RunConfig) -> list[EngineConfig]:
    generator = config.generator
    return [
        *([] if isinstance(generator, EndpointGeneratorConfig) else [generator.engine]),
        *([config.judge.engine] if isinstance(config.judge, VllmJudgeConfig) else []),
    ]


def _check_checkpoint(policy: PolicyConfig, max_tokens: int) -> None:
    if not isinstance(policy, JudgingConfig):
        return
    spec = CheckpointSpec.parse(policy.checkpoint)
    if spec.kind == "tokens" and spec.count >= max_tokens:
        raise UserError(
            f"policy.checkpoint {policy.checkpoint} is not before the end of a trace "
            f"(generator.sampling.max_tokens {max_tokens}): lower the one or raise the other"
        )


def _check_judge(engine: EngineConfig, prompt: Any) -> None:
    from actors.judges.pair_prompt import answer_token_id

    tokenizer = load_tokenizer(engine.tokenizer)
    for answer in (prompt.same_token, prompt.different_token):
        answer_token_id(tokenizer, answer)


def _check_generator(config: VllmGeneratorConfig, problems: Sequence[Problem]) -> None:
    engine = config.engine
    tokenizer = load_tokenizer(engine.tokenizer)
    context = engine.max_model_len or _context(engine.model)
    arguments, date = config.chat_template_kwargs, config.chat_template_date
    for name in arguments:
        if not template_reads(tokenizer, name):
            raise UserError(
                f"generator.chat_template_kwargs: the chat template of {engine.model} reads no "
                f"{name!r}: leave it out"
            )
    for problem in problems:
        num_tokens = len(prompt_token_ids(tokenizer, problem.chat, arguments, date))
        if context is not None and num_tokens >= context:
            raise UserError(
                f"{problem.problem_id}: its prompt has {num_tokens} tokens, and {engine.model} has "
                f"a context of {context}: shorten the problem or raise max_model_len"
            )


def _context(model: str) -> int | None:
    """A model's longest context in tokens; None if its configuration does not have it."""
    from transformers.utils import cached_file

    path = load_file(partial(cached_file, filename="config.json"), model)
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    length = config.get("text_config", config).get("max_position_embeddings")
    return None if length is None else int(length)
