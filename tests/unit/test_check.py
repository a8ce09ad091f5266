"""`deepprune check`: each thing it knows to be wrong is a line that says what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from actors.messages import EngineGone, JudgeReply, JudgeRequest, TraceRequest, TraceUpdate
from actors.models import MINIATURE
from cluster.configs import resolve_config
from deepprune.config import load_config
from deepprune.errors import UserError
from jobs.check import traces
from jobs.check.cache import check_cache
from jobs.check.checklist import Checklist
from jobs.check.command import EXAMPLE, _runs, check_configuration
from jobs.check.nodes import NodeFacts, check_facts, node_facts
from jobs.check.traces import MORE_TOKENS, PAUSE_TOKENS, TraceCheck
from tests.support.standin_models import byte_level

GIB = 1e9
MINE = {"Python": "3.11.7", "ray": "2.60.0", "deepprune": "abc"}


def damaged_tokenizer(folder: Path) -> Path:
    """A model whose tokenizer loses spaces, as DeepSeek-R1's does where its class is believed."""
    byte_level(folder, "PreTrainedTokenizerFast", ())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def encoder_without_its_head(folder: Path) -> Path:
    return shutil.copytree(
        MINIATURE / "encoder", folder, ignore=shutil.ignore_patterns("head.safetensors")
    )


class TestConfiguration:
    @pytest.mark.parametrize("name", ["laptop", "laptop-pairwise"])
    def test_the_laptops_are_right(self, name, capsys):
        checklist = Checklist()
        check_configuration(checklist, load_config(resolve_config(name)))
        assert checklist.failed == []
        said = capsys.readouterr().out
        assert "What is 6 × 7 + 5?" in said
        assert said.count("ok ") == checklist.num_checks

    @pytest.mark.parametrize(
        ("changes", "name", "words"),
        [
            ({"generator.engine.gpus_per_shard": 1}, "placement", "gpus_per_shard: 0"),
            ({"policy.checkpoint": "tokens:256"}, "checkpoint", "lower the one or raise the other"),
            ({"generator.engine.model": "./nowhere"}, "generator", "give the folder of"),
            ({"generator.engine.model": "nobody/nothing"}, "tokenizer and prompt", "no hub"),
            (
                {"generator.chat_template_kwargs": {"enable_thinking": True}},
                "tokenizer and prompt",
                "leave it out",
            ),
            ({"generator.engine.kv_cache_gib": 0.001}, "cache of a replica", "lower max_model_len"),
            ({"judge.engine.model": "./nowhere"}, "judge", "give the folder of"),
            (
                {
                    "judge.prompt": {
                        "template": "{first}{second}",
                        "same_token": "much the same",
                        "different_token": "no",
                    }
                },
                "judge",
                "set judge.prompt.same_token",
            ),
            (
                {"generator": {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m"}},
                "generator",
                "127.0.0.1:9",
            ),
            ({"judge": {"kind": "features", "folder": "./none"}}, "judge", "deepprune cheap"),
        ],
    )
    def test_what_is_wrong_is_a_line(self, changes, name, words, capsys):
        changes = {"generator.engine.gpus_per_shard": 0} | changes
        if changes["generator.engine.gpus_per_shard"]:
            changes["generator.engine.kv_cache_gib"] = None
        if isinstance(changes.get("generator"), dict):
            del changes["generator.engine.gpus_per_shard"]
        checklist = Checklist()
        check_configuration(checklist, load_config(resolve_config("laptop-pairwise"), changes))
        assert name in checklist.failed
        said = " ".join(capsys.readouterr().out.split())
        assert f"WRONG {name}" in said
        assert words in said

    def test_a_tokenizer_that_loses_text(self, tmp_path):
        model = damaged_tokenizer(tmp_path / "model")
        checklist = Checklist()
        changes = {"generator.engine.model": str(model)}
        check_configuration(checklist, load_config(resolve_config("laptop"), changes))
        assert "tokenizer and prompt" in checklist.failed

    def test_a_judge_that_is_not_whole(self, tmp_path):
        folder = encoder_without_its_head(tmp_path / "encoder")
        checklist = Checklist()
        changes = {"judge.folder": str(folder)}
        check_configuration(checklist, load_config(resolve_config("laptop"), changes))
        assert checklist.failed == ["judge"]


class TestCache:
    def test_an_explicit_batch_that_would_preempt(self):
        config = load_config(resolve_config("a100x4"), {"generator.engine.max_num_seqs": 256})
        with pytest.raises(UserError, match="remove max_num_seqs, or set"):
            check_cache(config.generator)

    def test_the_shipped_batch(self):
        found = check_cache(load_config(resolve_config("a100x4")).generator)
        assert found is not None
        assert "377,197 tokens in a replica: 26 traces of 20,000 tokens" in found

    def test_an_unknown_gpu(self):
        assert check_cache(load_config(resolve_config("gpu")).generator) is None


def test_an_endpoint_is_checked_by_its_models():
    (run,) = _runs("serve-a100x4", {})
    assert run.generator.engine.accelerator == "A100"
    (run,) = _runs("laptop", {"seed": 2})
    assert run.seed == 2
    with pytest.raises(UserError, match="there is no configuration 'nowhere'"):
        _runs("nowhere", {})


def facts(**changes) -> NodeFacts:
    known = {
        "versions": MINE,
        "disks": {"temporary files": (50 * GIB, 100 * GIB), "models": (50 * GIB, 100 * GIB)},
        "missing": {},
        "problems": [],
        "gpus": [],
        "gpu_problem": None,
    }
    return NodeFacts(**(known | changes))


class TestNodes:
    def test_this_machine(self, capsys):
        found = node_facts([], on_gpus=False)
        checklist = Checklist()
        check_facts(checklist, found, found.versions)
        said = capsys.readouterr().out
        assert "no engine of this configuration runs on its GPUs" in said
        assert set(checklist.failed) <= {"disks"}
        assert "ray" in found.versions and "torch" in found.versions

    def test_a_machine_without_the_gpus_that_it_promised(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
        found = node_facts([], on_gpus=True)
        assert found.gpus == [] and found.gpu_problem

    @pytest.mark.parametrize(
        ("changes", "name", "words"),
        [
            ({"versions": MINE | {"ray": "2.59.0"}}, "versions", "ray 2.59.0 there, 2.60.0 here"),
            ({"versions": MINE | {"deepprune": "old"}}, "versions", "install the same"),
            ({"gpu_problem": "driver 550 is too old"}, "drivers and CUDA", "driver 550 is too old"),
            (
                {"disks": {"temporary files": (4 * GIB, 90 * GIB)}},
                "disks",
                "the disk of temporary files has 4.0 of 90 GB free",
            ),
            (
                {"disks": {"models": (40 * GIB, 1000 * GIB)}},
                "disks",
                "delete old runs",
            ),
            (
                {"disks": {"models": (60 * GIB, 90 * GIB)}, "missing": {"m": 66 * 10**9}},
                "disks",
                "needs 71 GB",
            ),
            ({"problems": ["run `hf auth login`"]}, "models and hub", "hf auth login"),
        ],
    )
    def test_what_is_wrong_is_a_line(self, changes, name, words, capsys):
        checklist = Checklist()
        check_facts(checklist, facts(**changes), MINE)
        assert checklist.failed == [name]
        assert words in " ".join(capsys.readouterr().out.split())

    def test_what_a_first_start_downloads(self, capsys):
        checklist = Checklist()
        check_facts(checklist, facts(missing={"m": 8_040_000_000, "n": 0}), MINE)
        assert checklist.failed == []
        said = capsys.readouterr().out
        assert "or now by `deepprune fetch`: m (8.0 GB)\n" in said
        check_facts(checklist, facts(missing={"m": 0, "n": 0}), MINE)
        assert "m, n: all there" in capsys.readouterr().out


class Engine:
    """Traces token by token: it may end them early, forget a prefix, hang, or die."""

    def __init__(self, ends_at: int = 10_000, *, dies: bool = False, hangs: bool = False) -> None:
        self.ends_at = ends_at
        self.dies = dies
        self.hangs = hangs
        self.aborted: set[str] = set()

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        if self.dies:
            raise EngineGone("it died")
        end = min(request.sampling.max_tokens, self.ends_at)
        tokens = request.prefix_num_tokens
        if request.checkpoint and tokens < PAUSE_TOKENS < end:
            yield TraceUpdate("a" * PAUSE_TOKENS, (), PAUSE_TOKENS, prefix_chars=PAUSE_TOKENS)
            tokens = PAUSE_TOKENS
            if request.pause:
                return
        if self.hangs:
            await asyncio.sleep(60)
        if request.request_id in self.aborted:
            yield TraceUpdate("", (), tokens, finish_reason="abort")
            return
        yield TraceUpdate("b" * (end - tokens), (), end, finish_reason="length")

    def abort(self, request_id: str) -> int:
        self.aborted.add(request_id)
        return PAUSE_TOKENS


class Judge:
    def __init__(self, p_same: float) -> None:
        self.p_same = p_same

    async def score(self, request: JudgeRequest) -> JudgeReply:
        return JudgeReply((self.p_same,) * len(request.firsts), 10, 5)

    def abort(self, request_id: str) -> None:
        pass


def trace_check(engine: Engine, judge: Judge | None = None) -> Checklist:
    config = load_config(resolve_config("laptop"))
    checklist = Checklist()
    TraceCheck(config, EXAMPLE, engine, judge).run(checklist)
    return checklist


class TestTraces:
    def test_an_engine_that_does_all_of_it(self, capsys):
        checklist = trace_check(Engine(), Judge(0.7))
        said = capsys.readouterr().out
        assert (checklist.failed, checklist.num_checks) == ([], 5), said
        assert f"{PAUSE_TOKENS + MORE_TOKENS} tokens, its prefix unchanged" in said
        assert "P(same) 0.700" in said and "64 traces at once" in said

    @pytest.mark.parametrize(
        ("engine", "judge", "failed", "words"),
        [
            (Engine(ends_at=3), None, "pause", "before its checkpoint of 16 tokens"),
            (Engine(ends_at=16), None, "pause", "see the rendered prompt"),
            (Engine(dies=True), None, "pause", "the engine failed: it died"),
            (Engine(), Judge(float("nan")), "judge call", "evaluate it"),
            (Engine(hangs=True), None, "resume", "no end within 0 s"),
        ],
    )
    def test_what_fails_is_a_line(self, engine, judge, failed, words, capsys, monkeypatch):
        if engine.hangs:
            monkeypatch.setattr(traces, "STEP_S", 0.01)
        checklist = trace_check(engine, judge)
        said = " ".join(capsys.readouterr().out.split())
        assert checklist.failed == [failed], said
        assert words in said
        assert f"not tried, since {failed} failed" in said
