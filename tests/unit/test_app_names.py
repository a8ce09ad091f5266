"""Which runs share engines, by the names of their applications."""

from __future__ import annotations

import shutil

import pytest

from actors.deploy.app_names import generator_app_name, judge_app_name
from cluster.configs import resolve_config
from deepprune.config import RunConfig, load_config


def run(name: str = "laptop-pairwise", **changes: object) -> RunConfig:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(resolve_config(name), overrides)


def test_runs_that_differ_in_their_judge_share_a_generator():
    assert generator_app_name(run("laptop")) == generator_app_name(run("laptop-pairwise"))
    assert judge_app_name(run("laptop")) != judge_app_name(run("laptop-pairwise"))


def test_what_each_request_says_takes_no_engine_of_its_own():
    changed = run(generator__sampling__temperature=0.6, policy__num_traces=8, seed=5)
    assert generator_app_name(changed) == generator_app_name(run())
    assert judge_app_name(changed) == judge_app_name(run())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generator__engine__max_num_seqs", 64),
        ("generator__confidence", True),
        ("generator__replicas__max", 2),
        ("limits__stall_s", 60),
    ],
)
def test_another_engine_has_another_name(key, value):
    assert generator_app_name(run(**{key: value})) != generator_app_name(run())


def test_a_judge_trained_again_at_the_same_path_has_another_name(tmp_path):
    folder = tmp_path / "judge"
    shutil.copytree("miniature/models/judge", folder)
    config = run(judge__engine__model=str(folder))
    before = judge_app_name(config)
    assert judge_app_name(config) == before
    (folder / "model.safetensors").touch()
    assert judge_app_name(config) != before


def test_nothing_of_ours_generates_at_an_endpoint():
    endpoint = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m"}
    assert generator_app_name(run(generator=endpoint)) is None
    assert judge_app_name(run().model_copy(update={"judge": None})) is None
