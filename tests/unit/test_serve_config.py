"""Configurations of an endpoint: those that ship, and those that are refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.serving.spec import offer_of
from cluster.configs import resolve_config, shipped_serve_configs
from cluster.placement import place_together
from deepprune.errors import UserError
from deepprune.policy_config import JudgingConfig
from deepprune.serve_config import is_loopback, load_serve_config, parse_serve_config

MODEL = {
    "generator": {"engine": {"model": "miniature/reasoner"}},
    "judge": {"engine": {"model": "miniature/judge"}},
}


def config(**changes: Any) -> dict[str, Any]:
    return {"nodes": {"gpu": 2}, "models": {"m": MODEL}} | changes


def refusal(data: Any) -> str:
    with pytest.raises(UserError) as refused:
        parse_serve_config(data, "serve.yaml")
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("path", shipped_serve_configs(), ids=lambda path: path.stem)
def test_shipped_configurations_parse_and_fit(path: Path):
    read = load_serve_config(path)
    place_together(read.nodes, [read.run(name) for name in read.models])
    assert resolve_config(path.stem, shipped_serve_configs()) == path


def test_two_ship():
    assert [path.stem for path in shipped_serve_configs()] == ["serve-a100x4", "serve-laptop"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (config(surprise=1), "surprise: unknown key"),
        (config(models={}), "models"),
        (config(models={"m": MODEL | {"polcy": {}}}), "models.m.polcy: unknown key"),
        (config(models={"a b": MODEL}), "models.a b"),
        (
            config(models={"m": MODEL | {"judge": None, "policy": {"name": "deepprune"}}}),
            "needs a judge section",
        ),
        (
            config(models={"m": MODEL | {"generator": {"engine": {"mdel": "x"}}}}),
            "generator.engine",
        ),
        (config(http={"port": 0}), "http.port"),
        (config(http={"host": "0.0.0.0"}), "http.api_keys_file or http.api_keys_env"),
        (config(ingress={"min": 3, "max": 2}), "min 3 is above max 2"),
        ([], "not a configuration"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(data, said):
    assert said in refusal(data)


def test_with_keys_any_address_may_be_listened_on():
    http = {"host": "0.0.0.0", "api_keys_env": "KEYS"}
    assert parse_serve_config(config(http=http), "x").http.has_keys


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "example.org")),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_models_that_do_not_fit_side_by_side_are_refused():
    other = copy.deepcopy(MODEL)
    for part in ("generator", "judge"):
        other[part]["engine"]["max_num_seqs"] = 7
    read = parse_serve_config(config(models={"a": MODEL, "b": other, "c": MODEL}), "x")
    first, second, third = (read.run(name) for name in read.models)
    with pytest.raises(UserError, match="no room"):
        place_together(read.nodes, [first, second])
    place_together({"gpu": 4}, [first, second])
    place_together(read.nodes, [first, third])  # equal engines are shared


WITHOUT_A_JUDGE = {"cons", "esc", "adaptive", "short-m@k", "mmc", "deepprune+"}


def test_a_model_offers_every_policy_that_its_parts_can_serve():
    path = resolve_config("serve-laptop", shipped_serve_configs())
    judge = {"kind": "encoder", "folder": "miniature/encoder"}
    policy = {"name": "deepprune", "num_traces": 64, "checkpoint": "tokens:54"}
    parts = {"models.miniature.judge": judge, "models.miniature.policy": policy}
    offer = offer_of(load_serve_config(path, parts), "miniature")
    assert set(offer.policies) == {"deepprune", *WITHOUT_A_JUDGE}
    assert offer.default_policy == "deepprune"
    for policy in offer.policies.values():
        assert policy.num_traces == 64
        if isinstance(policy, JudgingConfig):
            assert policy.checkpoint == "tokens:54", "the one its judge was trained on"


@pytest.mark.parametrize("path", shipped_serve_configs(), ids=lambda path: path.stem)
def test_a_shipped_endpoint_asks_no_judge(path):
    config = load_serve_config(path)
    for name, model in config.models.items():
        offer = offer_of(config, name)
        assert model.judge is None
        assert offer.default_policy == "deepprune+" and "deepprune" not in offer.policies


def test_without_a_judge_or_confidence_no_policy_that_needs_it_is_offered():
    model = {"generator": MODEL["generator"], "policy": {"name": "cons", "num_traces": 7}}
    offer = offer_of(parse_serve_config(config(models={"m": model}), "x"), "m")
    assert set(offer.policies) == WITHOUT_A_JUDGE
    confident = {"generator": MODEL["generator"] | {"confidence": True}, "policy": {"name": "cons"}}
    offer = offer_of(parse_serve_config(config(models={"m": confident}), "x"), "m")
    assert {"deepconf-low", "deepconf-high"} < set(offer.policies)


def test_the_shape_for_serve_deploy_is_one_that_serve_takes():
    from ray.serve.schema import ServeDeploySchema

    text = (Path(__file__).parents[2] / "docs" / "endpoint.md").read_text(encoding="utf-8")
    (example,) = [part for part in text.split("```yaml\n")[1:] if "import_path" in part]
    schema = ServeDeploySchema.model_validate(yaml.safe_load(example.split("```")[0]))
    (application,) = schema.applications
    module, _, name = application.import_path.partition(":")
    assert (module, name) == ("actors.serving.deploy", "build_app")


def test_serve_builds_the_application_from_what_its_file_says():
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
    from ray.serve.deployment import Application

    from actors.serving.deploy import build_app

    assert isinstance(build(build_app, {"config": "serve-laptop"}), Application)
    assert isinstance(build(build_app, {"inline": config()}), Application)
    with pytest.raises(UserError, match="args: confg: unknown key"):
        build(build_app, {"confg": "serve-laptop"})
