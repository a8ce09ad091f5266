"""Mistakes cost one clear line and exit code 2, before any engine starts."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml

from cluster.configs import resolve_config
from jobs.cli import main
from jobs.sample.run import RunOptions
from tests.support.command import deepprune


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
            ["/nowhere", "config.json"],
        ),
        (["answer", "x", "--set", "generator.engine.model=nobody/nothing"], ["nobody/nothing"]),
        (
            [
                *("answer", "x", "--set", "generator.engine.tensor_parallel=16"),
                *("--set", "generator.engine.gpus_per_shard=1"),
                *("--set", "generator.engine.kv_cache_gib=null"),
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
    assert last.startswith("deepprune: ") and "/nowhere" in last
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


COMMANDS = (
    *("answer", "demo", "engines", "serve", "collect", "import", "sweep", "report", "plan"),
    *("check", "pairs", "train", "cheap", "evaluate", "ablate"),
)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_needs_no_heavy_import(command):
    code = (
        "import sys, jobs.cli\n"
        f"assert jobs.cli.main({[*command, '--help']}) == 0\n"
        "heavy = {'ray', 'torch', 'numpy', 'yaml', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: {' '.join(['deepprune', *command])}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing command", "deepprune --help"]),
        (["anwser"], ["anwser"]),
        (["report"], ["Missing argument", "deepprune report --help"]),
        (["answer", "x", "y"], ["unexpected", "deepprune answer --help"]),
        (["answer", "x", "--tua", "1"], ["--tua", "deepprune answer --help"]),
        (["answer", "x", "--tau", "high"], ["--tau", "valid number"]),
        (["answer", "x", "--tau"], ["--tau", "requires an argument"]),
        (["answer", "x", "--policy", "oracle"], ["--policy", "oracle", "deepprune+"]),
        (["demo", "--num-problems", "0"], ["--num-problems", "1"]),
        (["ablate", "grid.yaml"], ["Missing option", "--out"]),
        (
            ["cheap", "p", "--out", "o", "--target-error", "1"],
            ["--target-error", "between 0 and 1"],
        ),
    ],
)
def test_a_usage_mistake_costs_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1), said.err
    assert said.err.startswith("deepprune: ")
    assert all(word in said.err for word in words), said.err


def test_the_options_that_were_given_are_laid_over_those_of_set(monkeypatch):
    given = []
    monkeypatch.setattr("jobs.sample.answer.answer", lambda *arguments: given.append(arguments))
    more = ("--set", "policy.tau=0.3", "--set", "seed=1", "--tau", "0.4", "--policy", "deepprune")
    assert main(["answer", "-", "--json", *more]) == 0
    options = RunOptions("laptop", "deepprune", {"policy.tau": 0.4, "seed": 1})
    assert given == [("-", None, True, options)]


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"deepprune {version('deepprune')}\n"
