"""Turn a chat completion request into a problem and a policy, within the model's limits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.deploy.preflight import with_calibration
from actors.serving.chat import ChatRequest, Controls, StreamOptions
from actors.serving.conversation import (
    json_schema_of,
    problem_of,
    seems_to_ask_for_a_value,
    tools_of,
)
from actors.serving.errors import bad_request, unknown_model
from deepprune.config import (
    EndpointGeneratorConfig,
    RunConfig,
    SamplingConfig,
    VllmGeneratorConfig,
)
from deepprune.policy_config import (
    POLICY_NAMES,
    AdaptiveConfig,
    ConsConfig,
    JudgingConfig,
    PlusConfig,
    PolicyConfig,
)
from deepprune.serve_config import CeilingsConfig, ServeConfig
from deepprune.traces import Problem

ANSWER_TOKENS = 1024
"""Tokens kept for the answer by default; at most a quarter of the budget."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model's policies by name, the default policy, and the limits of requests.

    `tools` says whether its tool calls can be read. `sampling.answer_tokens` is None where the
    generator cannot close a thought.
    """

    policies: Mapping[str, PolicyConfig]
    default_policy: str
    sampling: SamplingConfig
    ceilings: CeilingsConfig
    tools: bool = False


def offer_of(config: ServeConfig, name: str) -> Offer:
    """Build a model's offer: each policy that its generator and judge can serve."""
    run = with_calibration(config.run(name))
    policies: dict[str, PolicyConfig] = {run.policy.name: run.policy}
    shared = run.policy.model_dump(include={"num_traces", "checkpoint", "reasoning_words"})
    for other in POLICY_NAMES:
        if other in policies:
            continue
        named = {"name": other}
        for keep in (shared, {"num_traces": run.policy.num_traces}):
            candidate = _validated(run, named | keep)
            if candidate is not None:
                policies[other] = with_calibration(candidate).policy
                break
    generator, sampling = run.generator, run.generator.sampling
    kept = ANSWER_TOKENS if sampling.answer_tokens is None else sampling.answer_tokens
    can_close = isinstance(generator, VllmGeneratorConfig)
    sampling = sampling.model_copy(update={"answer_tokens": kept if can_close else None})
    return Offer(
        policies,
        run.policy.name,
        sampling,
        config.models[name].ceilings,
        tools=isinstance(generator, EndpointGeneratorConfig) or bool(generator.tool_call_parser),
    )


def _validated(run: RunConfig, policy: dict[str, Any]) -> RunConfig | None:
    """Replace the run's policy; None if the result does not validate."""
    fields = {name: getattr(run, name) for name in type(run).model_fields} | {"policy": policy}
    try:
        return RunConfig.model_validate(fields)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """A validated request.

    `expects_answer` says that each trace has an answer to compare, for sure. `ask_first` says that
    the question does not seem to have one: its first trace runs alone.
    """

    model: str
    problem: Problem
    policy: PolicyConfig
    sampling: SamplingConfig
    seed: int
    deadline_s: float
    max_total_tokens: int | None
    max_tokens_given: bool
    return_clusters: bool
    stream: bool
    include_usage: bool
    continuous_usage: bool
    separate_reasoning: bool
    include_reasoning: bool
    expects_answer: bool
    ask_first: bool


def read_chat_request(request: ChatRequest, offers: Mapping[str, Offer]) -> RequestSpec:
    """Check a request against the offers.

    Raises:
        ApiError: it asks for what is not offered, or exceeds a limit; the message names it.
    """
    offer = offers.get(request.model)
    if offer is None:
        raise unknown_model(request.model, list(offers))
    if tools_of(request) and not offer.tools:
        raise bad_request(
            "'tools' is not supported by this model: its generator has no tool_call_parser.",
            "tools",
            "unsupported_parameter",
        )
    for number, tool in enumerate(tools_of(request)):
        if tool.function is None:
            param = f"tools[{number}].function"
            raise bad_request(f"Missing parameter: {param!r}.", param, "missing_parameter")
    if request.messages[-1].role not in ("user", "tool"):
        raise bad_request("The last message must be the user's or a tool's.", "messages")
    controls = request.deepprune or Controls()
    ceilings, options = offer.ceilings, request.stream_options or StreamOptions()
    sampling, max_tokens_given = _sampling(request, offer.sampling)
    _at_most(controls.n, ceilings.n, "deepprune.n")
    _at_most(controls.max_total_tokens, ceilings.max_total_tokens, "deepprune.max_total_tokens")
    _at_most(controls.deadline_s, ceilings.deadline_s, "deepprune.deadline_s")
    max_total_tokens = controls.max_total_tokens or ceilings.max_total_tokens
    if max_total_tokens is not None and max_total_tokens < sampling.max_tokens:
        sampling = sampling.model_copy(update={"max_tokens": max_total_tokens})
    sampling = _with_answer_tokens(sampling, request.thinking_token_budget)
    return RequestSpec(
        model=request.model,
        problem=problem_of(request),
        policy=_policy(controls, offer, sampling),
        sampling=sampling,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        deadline_s=controls.deadline_s or ceilings.deadline_s,
        max_total_tokens=max_total_tokens,
        max_tokens_given=max_tokens_given,
        return_clusters=bool(controls.return_clusters),
        stream=bool(request.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
        separate_reasoning=request.separate_reasoning is not False,
        include_reasoning=request.include_reasoning is not False,
        expects_answer=controls.answer not in (None, "auto") or sampling.json_schema is not None,
        ask_first=not tools_of(request) and not seems_to_ask_for_a_value(request),
    )


def _at_most(value: float | None, ceiling: float | None, param: str) -> None:
    if value is not None and ceiling is not None and value > ceiling:
        raise bad_request(
            f"{param} is {value:g}; this server allows at most {ceiling:g}.",
            param,
            "above_ceiling",
        )


def _sampling(request: ChatRequest, base: SamplingConfig) -> tuple[SamplingConfig, bool]:
    asked, other = request.max_completion_tokens, request.max_tokens
    if asked is not None and other is not None and asked != other:
        raise bad_request(
            "max_tokens and max_completion_tokens contradict each other; give one.", "max_tokens"
        )
    asked = asked or other
    name = "max_tokens" if other else "max_completion_tokens"
    _at_most(asked, base.max_tokens, name)
    changes = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": 0 if request.top_k == -1 else request.top_k,
        "max_tokens": asked,
        "stop": tuple(request.stop) if request.stop else None,
        "json_schema": json_schema_of(request.response_format),
    }
    given = {key: value for key, value in changes.items() if value is not None}
    return base.model_copy(update=given), asked is not None


def _with_answer_tokens(sampling: SamplingConfig, thought: int | None) -> SamplingConfig:
    """Keep tokens for the answer: what `thought`, a budget of tokens, leaves, if it is given."""
    kept, budget = sampling.answer_tokens, sampling.max_tokens
    if kept is None:
        if thought not in (None, -1):
            raise bad_request(
                "'thinking_token_budget' is not supported by this model: its generator is an "
                "endpoint.",
                "thinking_token_budget",
                "unsupported_parameter",
            )
        return sampling
    kept = min(kept, budget // 4)
    if thought == -1 or sampling.json_schema is not None:
        kept = 0  # a grammar begins anew where a trace goes on
    elif thought is not None:
        kept = max(kept, budget - thought)
    return sampling.model_copy(update={"answer_tokens": kept})


def _policy(controls: Controls, offer: Offer, sampling: SamplingConfig) -> PolicyConfig:
    if sampling.temperature == 0 and controls.n is None and controls.policy is None:
        return ConsConfig(num_traces=1)  # greedy traces are all the same
    name = controls.policy or offer.default_policy
    policy = offer.policies.get(name)
    if policy is None:
        raise bad_request(
            f"There is no policy {name!r} for this model; there is {', '.join(offer.policies)}.",
            "deepprune.policy",
            "invalid_value",
        )
    if sampling.json_schema is not None and _judges_prefixes(policy):
        # A grammar begins anew where a paused trace goes on.
        if controls.policy is not None:
            raise bad_request(
                f"The policy {name!r} judges prefixes, which 'response_format' does not allow; ask "
                "for another, or for none.",
                "deepprune.policy",
                "unsupported_parameter",
            )
        policy = AdaptiveConfig(name="adaptive", num_traces=policy.num_traces)
    changes: dict[str, Any] = {}
    if controls.tau is not None:
        if "tau" not in type(policy).model_fields:
            raise bad_request(
                f"The policy {name!r} has no tau.", "deepprune.tau", "unsupported_parameter"
            )
        changes["tau"] = controls.tau
    changes["num_traces"] = controls.n or min(policy.num_traces, offer.ceilings.n)
    return policy.model_copy(update=changes)


def _judges_prefixes(policy: PolicyConfig) -> bool:
    if isinstance(policy, PlusConfig) and policy.votes_only:
        return False
    return isinstance(policy, JudgingConfig)
