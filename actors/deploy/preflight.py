"""What can be known to be wrong before an engine starts: models, prompts, answer tokens.

Everything here takes seconds and no GPU, so that a mistake costs seconds and no GPU.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from actors.models import encoder_judge, feature_judge, judge_prompt, resolve_model
from actors.tokenizer import load_file, load_tokenizer, prompt_token_ids, template_reads
from cluster.placement import place
from deepprune.answers.reply import SPECIAL_MARKS, opens_thought
from deepprune.checkpoints import CheckpointSpec
from deepprune.config import (
    EncoderJudgeConfig,
    EndpointGeneratorConfig,
    FeatureJudgeConfig,
    JudgeConfig,
    RunConfig,
    VllmGeneratorConfig,
    VllmJudgeConfig,
)
from deepprune.errors import UserError
from deepprune.policy_config import JudgingConfig, PaperRules, PlusConfig
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

Check = tuple[str, Callable[[], str]]
"""Its name, and a function that returns what it found."""


def check(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Check a configuration and its problems.

    Raises:
        UserError: they cannot work; one line says what to change.
    """
    for _, run in checks(config, problems):
        run()


def checks(config: RunConfig, problems: Sequence[Problem]) -> Iterator[Check]:
    """List what can be checked before an engine starts, with a name for each check.

    A check returns what it found, and raises UserError where that cannot work.
    """
    generator, judge = config.generator, config.judge
    yield "problems", partial(_check_problems, problems)
    yield "placement", partial(_check_placement, config)
    if judge is not None and isinstance(config.policy, JudgingConfig):
        yield "checkpoint", partial(_check_checkpoint, config.policy, generator.sampling.max_tokens)
    if isinstance(generator, EndpointGeneratorConfig):
        yield "generator", partial(_check_endpoint, generator)
    else:
        yield "generator", partial(_check_model, generator.engine.model)
    if judge is not None:
        yield "judge", partial(_check_judge, judge)
    if isinstance(generator, VllmGeneratorConfig):
        yield "tokenizer and prompt", partial(_check_prompt, generator, problems)


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


def _check_problems(problems: Sequence[Problem]) -> str:
    for problem in problems:
        if not problem.text.strip():
            raise UserError(
                f"{problem.problem_id}: the problem is empty; give a question to answer"
            )
    return f"{len(problems)} with text"


def _check_placement(config: RunConfig) -> str:
    place(config)
    nodes = ", ".join(f"{count} × {name}" for name, count in config.nodes.items())
    return f"the least replicas fit on {nodes}"


def _check_checkpoint(policy: JudgingConfig, max_tokens: int) -> str:
    spec = CheckpointSpec.parse(policy.checkpoint)
    if spec.kind == "tokens" and spec.count >= max_tokens:
        raise UserError(
            f"policy.checkpoint {policy.checkpoint} is not before the end of a trace "
            f"(generator.sampling.max_tokens {max_tokens}): lower the one or raise the other"
        )
    return f"{policy.checkpoint} of at most {max_tokens:,} tokens"


def _check_endpoint(config: EndpointGeneratorConfig) -> str:
    from actors.generators.endpoint import EndpointGenerators

    asyncio.run(EndpointGenerators(config).check())
    return f"{config.url} serves {config.model}"


def _check_model(model: str) -> str:
    resolve_model(model)  # raises if it does not exist
    return model


def _check_judge(judge: JudgeConfig) -> str:
    known = _known(judge)
    measured = known["auroc"] is not None and known["base_rate"] is not None
    worth = f"AUROC {known['auroc']:.2f}" if measured else "deepprune+ needs its measured AUROC"
    if not isinstance(judge, VllmJudgeConfig):
        return f"{judge.name}: {worth}"
    from actors.judges.pair_prompt import answer_token_id

    _check_model(judge.engine.model)
    prompt, tokenizer = judge_prompt(judge), load_tokenizer(judge.engine.tokenizer)
    answers = (prompt.same_token, prompt.different_token)
    ids = (f"{answer!r} is token {answer_token_id(tokenizer, answer)}" for answer in answers)
    return f"{judge.name}: {', '.join(ids)}; {worth}"


def _check_prompt(config: VllmGeneratorConfig, problems: Sequence[Problem]) -> str:
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
    longest: list[int] = []
    for problem in problems:
        ids = prompt_token_ids(tokenizer, problem.chat, arguments, date)
        if context is not None and len(ids) >= context:
            raise UserError(
                f"{problem.problem_id}: its prompt has {len(ids)} tokens, and {engine.model} has "
                f"a context of {context}: shorten the problem or raise max_model_len"
            )
        longest = max(longest, ids, key=len)
    rendered = tokenizer.decode(longest)
    opens = "opens the thought" if opens_thought(rendered) else "leaves the thought to the model"
    marks = ", ".join(sorted(SPECIAL_MARKS & tokenizer.get_added_vocab().keys()))
    return f"texts survive; {rendered!r} {opens}; marks of the thought: {marks or 'plain text'}"


def _context(model: str) -> int | None:
    """A model's longest context in tokens; None if its configuration does not have it."""
    from transformers.utils import cached_file

    path = load_file(partial(cached_file, filename="config.json"), model)
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    length = config.get("text_config", config).get("max_position_embeddings")
    return None if length is None else int(length)
