from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from actors.models import feature_judge
from deepprune.config import (
    EncoderJudgeConfig,
    EndpointGeneratorConfig,
    EngineConfig,
    JudgePrompt,
    LimitsConfig,
    ReplicasConfig,
    RunConfig,
    SamplingConfig,
    parse_config,
)
from deepprune.errors import UserError
from deepprune.policies.deepprune import DEFAULT_TAU
from deepprune.policy_config import ConsConfig, DeepPruneConfig, PlusConfig
from tests.support.configs import minimal


def refusal(data: Any) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(UserError) as refused:
        parse_config(data, "run.yaml")
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("run.yaml: ")
    return message


# --- defaults -----------------------------------------------------------------------------------


def test_the_defaults_are_those_of_appendix_c():
    config = DeepPruneConfig()
    assert config.checkpoint == "tokens:500"
    assert (config.tau or DEFAULT_TAU) == 0.5
    assert config.max_clusters == 16
    assert config.max_members == 20
    assert config.max_finish == 20
    assert config.singletons_finish == 32
    assert config.num_traces == ConsConfig().num_traces == 512


def test_a_run_stops_early_and_needs_no_judge_unless_told_otherwise():
    config = parse_config(minimal(judge=None), "run.yaml")
    assert config.policy == PlusConfig(name="deepprune+")
    assert (config.policy.auroc, config.policy.base_rate) == (None, None)
    assert config.limits == LimitsConfig()
    assert config.seed == 0


def test_self_consistency_pays_for_every_trace_unless_told_otherwise():
    assert ConsConfig().stop_when_decided is False


@pytest.mark.parametrize(
    ("num_traces", "wave", "size"),
    [(512, None, 64), (64, None, 16), (8, None, 8), (512, 1, 1), (512, 512, 512)],
)
def test_a_wave_is_an_eighth_of_the_traces_but_not_tiny(num_traces, wave, size):
    assert DeepPruneConfig(num_traces=num_traces, wave=wave).wave_size == size


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (minimal(polcy={"name": "cons"}), "polcy"),
        (minimal(policy={"name": "deepprune", "taus": 0.5}), "taus"),
        (minimal(policy={"name": "cons", "tau": 0.5}), "tau"),
        (minimal(limits={"max_problem": 4}), "limits.max_problem"),
        (minimal(judge={"engine": {"model": "m", "tensor_paralel": 2}}), "tensor_paralel"),
        (
            minimal(generator={"kind": "vllm", "engine": {"model": "m"}, "sampling": {"temp": 1}}),
            "temp",
        ),
    ],
)
def test_an_unknown_key_is_refused_in_one_line_that_names_it(data, key):
    message = refusal(data)
    assert f"{key}: unknown key" in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (minimal(nodes=None), ["nodes", "missing"]),
        (minimal(generator=None), ["generator", "missing"]),
        (minimal(nodes={}), ["nodes"]),
        (minimal(policy={"name": "magic"}), ["policy", "magic", "deepprune"]),
        (minimal(generator={"kind": "sglang"}), ["generator", "sglang", "endpoint"]),
        (minimal(policy={"name": "deepprune", "tau": 1.5}), ["tau"]),
        (minimal(policy={"name": "deepprune", "num_traces": 0}), ["num_traces"]),
        (minimal(seed="seven"), ["seed"]),
    ],
)
def test_what_is_wrong_or_missing_is_named(data, words):
    message = refusal(data)
    assert all(word in message for word in words), message


def test_all_mistakes_are_named_at_once():
    message = refusal(minimal(sed=1, limits={"retires": 2}))
    assert "sed: unknown key" in message
    assert "limits.retires: unknown key" in message


@pytest.mark.parametrize("checkpoint", ["", "500", "tokens", "tokens:", "tokens:0", "words:25"])
def test_a_checkpoint_that_makes_no_sense_is_refused(checkpoint):
    message = refusal(minimal(policy={"name": "deepprune", "checkpoint": checkpoint}))
    assert "checkpoint" in message


@pytest.mark.parametrize("checkpoint", ["tokens:500", "reasoning_words:25"])
def test_both_kinds_of_checkpoint_of_the_paper_are_understood(checkpoint):
    assert DeepPruneConfig(checkpoint=checkpoint).checkpoint == checkpoint


def test_self_consistency_needs_no_judge():
    config = parse_config(minimal(judge=None, policy={"name": "cons"}), "run.yaml")
    assert config.judge is None


def test_an_encoder_judge_takes_a_share_of_a_gpu_or_cpus():
    judge = {"kind": "encoder", "folder": "my-encoder", "gpus": 0.2, "cpus": 2}
    config = parse_config(minimal(judge=judge), "run.yaml")
    assert isinstance(config.judge, EncoderJudgeConfig) and config.judge.name == "my-encoder"
    assert "judge.gpus" in refusal(minimal(judge=judge | {"gpus": 2}))


def test_a_judge_of_features_is_a_folder():
    config = parse_config(minimal(judge={"kind": "features", "folder": "my-judge"}), "run.yaml")
    assert config.judge is not None and config.judge.name == "features"
    assert "judge.folder: missing" in refusal(minimal(judge={"kind": "features"}))
    said = refusal(minimal(judge={"kind": "words"}))
    assert "'words' is not one of 'vllm', 'features', 'encoder'" in said
    with pytest.raises(UserError, match="my-judge holds no feature judge"):
        feature_judge(config.judge)


def test_the_papers_rules_without_a_judge_are_refused():
    assert "needs a judge section" in refusal(minimal(judge=None, policy={"name": "deepprune"}))


@pytest.mark.parametrize("data", [None, [], ["nodes"], "nodes", 3])
def test_what_is_not_a_mapping_is_refused(data):
    assert "not a configuration" in refusal(data)


def test_more_replicas_at_least_than_at_most_is_refused():
    with pytest.raises(ValidationError, match="min 3 is above max 2"):
        ReplicasConfig(min=3, max=2)


def test_part_of_a_gpu_cannot_hold_several_shards():
    assert EngineConfig(model="m", gpus_per_shard=0.5).gpus_per_shard == 0.5
    assert EngineConfig(model="m", gpus_per_shard=0, tensor_parallel=2).tensor_parallel == 2
    with pytest.raises(ValidationError, match="gpus_per_shard"):
        EngineConfig(model="m", gpus_per_shard=0.5, tensor_parallel=2)


def test_an_endpoint_is_given_by_its_url():
    endpoint = EndpointGeneratorConfig(kind="endpoint", url="http://node:8000/v1/", model="m")
    assert endpoint.url == "http://node:8000/v1"
    with pytest.raises(ValidationError, match="http"):
        EndpointGeneratorConfig(kind="endpoint", url="node:8000/v1", model="m")


@pytest.mark.parametrize(
    "template",
    ["{first}", "{second} {first}", "{first} {first} {second}", "compare them", "{second}"],
)
def test_a_judge_prompt_shows_the_first_trace_then_the_second_once_each(template):
    with pytest.raises(ValidationError, match="template"):
        JudgePrompt(template=template, same_token="yes", different_token="no")


# --- immutable ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (SamplingConfig(), "temperature"),
        (DeepPruneConfig(), "tau"),
        (ConsConfig(), "num_traces"),
        (LimitsConfig(), "retries"),
        (RunConfig.model_validate(minimal()), "seed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_configuration_never_changes(section, key):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, key, 0.5)


def test_a_configuration_survives_being_written_down():
    config = RunConfig.model_validate(minimal())
    written = yaml.safe_dump(config.model_dump(mode="json"))
    assert parse_config(yaml.safe_load(written), "config.yaml") == config
