"""Mistakes cost one clear line and exit code 2, before any engine starts."""

from __future__ import annotations

import io
import socket

import pytest
import yaml

from cluster.configs import resolve_config
from jobs.cli import main
from tests.command import deepprune


@pytest.fixture
def laptop() -> dict:
    return yaml.safe_load(resolve_config("laptop-pairwise").read_text())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["answer", "  "], ["the problem is empty"]),
        (["answer"], ["the problem is empty"]),
        (["answer", "x", "--file", "y"], ["not both"]),
        (["answer", "--file", "nowhere.txt"], ["cannot read the problem", "nowhere.txt"]),
        (["answer", "x", "--num-traces", "0"], ["policy.num_traces", "greater than or equal to 1"]),
        (["answer", "x", "--tau", "2"], ["policy.tau"]),
        (["answer", "x", "--checkpoint", "soon"], ["soon", "tokens:K"]),
        (["answer", "x", "--config", "nowhere"], ["no configuration 'nowhere'", "laptop"]),
        (["answer", "x", "--set", "policy.wavee=3"], ["policy.wavee", "unknown key"]),
        (["answer", "x", "--set", "policy"], ["KEY=VALUE"]),
        (
            ["answer", "x", "--set", "generator.engine.model=./nowhere"],
            ["./nowhere", "config.json"],
        ),
        (["answer", "x", "--set", "generator.engine.model=nobody/nothing"], ["nobody/nothing"]),
        (
            [
                *("answer", "x", "--set", "generator.engine.tensor_parallel=16"),
                *("--set", "generator.engine.gpus_per_shard=1"),
            ],
            ["needs 16 GPUs", "laptop"],
        ),
        (["answer", "x", "--checkpoint", "tokens:4000"], ["not before the end of a trace"]),
        (["answer", "one two three " * 400], ["prompt has", "context of 512"]),
    ],
)
def test_a_mistake_costs_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    *_, last = said.err.splitlines()
    assert last.startswith("deepprune: "), said.err
    assert "Traceback" not in said.err and "[transformers]" not in said.err
    assert all(word in said.err for word in words), said.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_mistake_is_the_exit_status_and_the_only_line(tmp_path):
    result = deepprune("answer", "x", "--set", "generator.engine.model=./nowhere", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    *shown, last = result.stderr.splitlines()
    assert last.startswith("deepprune: ") and "./nowhere" in last
    assert not any("Traceback" in line for line in shown)


def test_a_judge_that_lacks_the_answer_tokens_is_refused(laptop, tmp_path):
    laptop["judge"]["prompt"] = {
        "template": "{first} {second}",
        "same_token": "certainly the same",
        "different_token": "no",
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(laptop))
    result = deepprune("answer", "x", "--config", "run.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert "no single token for its answer 'certainly the same'" in result.stderr


def test_a_dead_endpoint_is_refused(laptop, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    laptop["generator"] = {"kind": "endpoint", "url": f"http://127.0.0.1:{port}/v1", "model": "m"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(laptop))
    result = deepprune("answer", "x", "--config", "run.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_needs_no_heavy_import(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, jobs.cli\n"
        "try: jobs.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'torch', 'vllm', 'transformers', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "demo" in result.stdout
