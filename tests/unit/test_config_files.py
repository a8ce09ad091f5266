"""Configurations out of files: what is refused, overrides, and paths of models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepprune.config import EngineConfig, LimitsConfig, RunConfig, load_config, parse_config
from deepprune.errors import UserError
from deepprune.policy_config import DeepPruneConfig
from tests.support.configs import minimal
from training.config import TrainConfig


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(minimal()), encoding="utf-8")
    return path


def refused_file(path: Path, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as refused:
        load_config(path, overrides)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_file_is_read_as_it_is(file):
    assert load_config(file) == load_config(str(file)) == RunConfig.model_validate(minimal())


def test_a_missing_file_is_named(tmp_path):
    assert "cannot read" in refused_file(tmp_path / "nowhere.yaml")


def test_a_folder_is_not_a_file(tmp_path):
    assert "cannot read" in refused_file(tmp_path)


def test_a_binary_file_is_refused(file):
    file.write_bytes(b"\xff\xfe\x00\x80")
    refused_file(file)


@pytest.mark.parametrize("text", ["nodes: [1, 2", "a: b: c", "\tnodes: 1", "key: 'open"])
def test_a_file_that_is_not_yaml_is_refused(file, text):
    file.write_text(text, encoding="utf-8")
    assert "is not YAML" in refused_file(file)


@pytest.mark.parametrize("text", ["", "- nodes\n- generator\n", "just words"])
def test_a_file_without_keys_at_its_top_is_refused(file, text):
    file.write_text(text, encoding="utf-8")
    assert "not a configuration" in refused_file(file)
    assert "not a configuration" in refused_file(file, {"seed": 1})


def test_overrides_are_laid_over_the_file(file):
    config = load_config(
        file,
        {"seed": 7, "policy.name": "deepprune", "policy.tau": 0.7, "limits.retries": 0},
    )
    assert config.seed == 7
    assert config.policy == DeepPruneConfig(tau=0.7)
    assert config.limits == LimitsConfig(retries=0)
    assert config.judge == RunConfig.model_validate(minimal()).judge


def test_an_override_with_an_unknown_key_is_refused(file):
    assert "limits.patience: unknown key" in refused_file(file, {"limits.patience": 3})


@pytest.mark.parametrize("written", ["my-judge/judge", "./my-judge/judge"])
def test_the_path_of_a_model_is_absolute_once_a_configuration_is_parsed(
    written, tmp_path, monkeypatch
):
    (tmp_path / "my-judge" / "judge").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    expected = str(tmp_path / "my-judge" / "judge")
    data = minimal(judge={"engine": {"model": written}})
    parsed = parse_config(data, "run.yaml")
    assert parsed.judge.engine.model == expected
    for kind in ("encoder", "features"):
        data = minimal(judge={"kind": kind, "folder": written})
        assert parse_config(data, "run.yaml").judge.folder == expected
    assert TrainConfig(model=written).model == expected
    assert EngineConfig(model="~/judge").model == os.path.expanduser("~/judge")


@pytest.mark.parametrize("name", ["miniature/reasoner", "smollm2", "Qwen/Qwen3-32B", "gs://b/a/c"])
def test_the_name_of_a_model_stays_as_it_is(name, tmp_path, monkeypatch):
    (tmp_path / "miniature" / "reasoner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert EngineConfig(model=name).model == name
