"""`deepprune plan`: hardware by hand, predictions that add up, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cluster.configs import resolve_config
from cluster.node_types import NODE_TYPES
from deepprune.config import EncoderJudgeConfig, load_config
from deepprune.errors import UserError
from deepprune.loading import find
from deepprune.plan_config import LengthsConfig, PlanConfig, load_plan
from deepprune.policy_config import ConsConfig, PlusConfig
from deepprune.speed import SpeedConfig
from deepprune.synthetic_traces import synthetic_recordings
from jobs.cli import main
from jobs.sweep.cost_estimator import Planner, cheapest
from jobs.sweep.plan import PLANS

ROOT = Path(__file__).parents[2]


class TestConfiguration:
    @pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
    def test_shipped_plans_parse(self, path):
        plan = load_plan(path)
        assert {name for mix in plan.mixes for name in mix} <= NODE_TYPES.keys()
        assert (load_config(resolve_config(plan.run)).judge is None) == (plan.judge is None)
        assert find(path.stem, list(PLANS.glob("*.yaml"))) == path

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"mixs": []}, "mixs: unknown key"),
            ({"mixes": []}, "mixes"),
            ({"mixes": [{}]}, "a mix has no nodes"),
            ({"prices": {"h20x8": 3}}, "prices lack a100x4"),
            ({"judge": "tfidf"}, "no judge to plan with"),
            ({"policies": [{"name": "deepprune"}]}, "deepprune asks a judge: set judge"),
            ({"efficiency": {"bandwidth": 2}}, "efficiency.bandwidth"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, change, words):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({"run": "a100x4", "mixes": [{"a100x4": 1}]} | change))
        with pytest.raises(UserError) as refusal:
            load_plan(path)
        assert words in str(refusal.value) and str(path) in str(refusal.value)

    def test_a_policy_keeps_what_it_names(self):
        plan = PlanConfig.model_validate(
            {
                "run": "a100x4",
                "mixes": [{"a100x4": 1}],
                "num_traces": 64,
                "policies": [{"name": "cons"}, {"name": "deepprune+", "num_traces": 32}],
            }
        )
        (cons, _), (plus, judge) = plan.cells()
        assert judge is None
        assert (cons.num_traces, plus.num_traces) == (64, 32)
        assert isinstance(cons, ConsConfig) and isinstance(plus, PlusConfig)

    @pytest.mark.parametrize("agreement", [0.2, 0.5, 0.9, 1.0])
    def test_made_up_traces_are_as_wanted(self, agreement):
        lengths = LengthsConfig(mean_tokens=1000, agreement=agreement)
        (problem,) = synthetic_recordings(lengths, 1, 4000, max_tokens=10**6)
        tokens = [trace.num_tokens for trace in problem.traces]
        assert sum(tokens) / 4000 == pytest.approx(1000, rel=0.05)
        answers = [trace.answer for trace in problem.traces]
        same = sum((answers.count(a) / 4000) ** 2 for a in set(answers))
        assert same == pytest.approx(agreement, abs=0.03)


def planner(judge: EncoderJudgeConfig | None = None, **changes) -> Planner:
    plan = {
        "run": "a100x4-paper",
        "mixes": [{"a100x4": 1}],
        "judge": "noisy:0.87",
        "num_problems": 3,
        "num_traces": 48,
        "lengths": {"mean_tokens": 2000},
        "policies": [{"name": "cons"}, {"name": "deepprune"}],
    }
    config = PlanConfig.model_validate(plan | changes)
    run = load_config(resolve_config(config.run))
    if judge is not None:
        run = run.model_copy(update={"judge": judge})
    return Planner(config, run, ROOT)


class TestPredictions:
    @pytest.fixture(scope="class")
    def predictions(self):
        ready = planner()
        return {
            (policy.name, count): ready.predict(policy, judge, {"a100x4": count})
            for policy, judge in ready.cells
            for count in (1, 3)
        }

    def test_they_add_up(self, predictions):
        for (_, count), p in predictions.items():
            assert p.gpu_hours == pytest.approx(4 * count * p.hours) == p.cost
            assert 0 < p.busy <= 1
        tokens = sum(planner()._datasets[0].lengths)
        assert predictions["cons", 1].generated_tokens >= tokens
        assert predictions["cons", 1].generated_tokens == predictions["cons", 3].generated_tokens

    def test_more_nodes_are_faster_and_pruning_is_cheaper(self, predictions):
        for policy in ("cons", "deepprune"):
            assert predictions[policy, 3].hours < predictions[policy, 1].hours
        assert (
            predictions["deepprune", 1].generated_tokens < predictions["cons", 1].generated_tokens
        )

    def test_judges_take_gpus_from_who_needs_them_only(self, predictions):
        assert (predictions["cons", 3].num_generators, predictions["cons", 3].num_judges) == (12, 0)
        pruned = predictions["deepprune", 3]
        assert (pruned.num_generators, pruned.num_judges) == (11, 1)
        assert pruned.judge_tokens > 0

    def test_cons_by_hand(self):
        speed = SpeedConfig(streams=1000, step_s=3600, step_s_per_trace=0)
        ready = planner(speed=speed, num_problems=2)
        longest = max(max(dataset.lengths) for dataset in ready._datasets)
        assert ready.predict(*ready.cells[0], {"a100x4": 1}).hours == pytest.approx(longest)

    def test_an_encoder_judge_reads_each_prefix_once(self, predictions):
        folder = str(ROOT / "miniature" / "models" / "reasoner")
        judge = EncoderJudgeConfig(kind="encoder", folder=folder, gpus=1)
        ready = planner(judge)
        found = ready.predict(*ready.cells[1], {"a100x4": 1})
        pairwise = predictions["deepprune", 1]
        assert 0 < found.judge_tokens <= 3 * 48 * 500 < pairwise.judge_tokens
        assert found.num_judges == 1
        on_cpus = planner(judge.model_copy(update={"gpus": 0}))
        with pytest.raises(UserError, match=r"set judge\.gpus"):
            on_cpus.predict(*on_cpus.cells[1], {"a100x4": 1})

    def test_the_cheapest_is_in_time(self, predictions):
        slow, fast = predictions["cons", 1], predictions["cons", 3]
        both = [slow, fast]
        assert cheapest(both, None) == [min(both, key=lambda p: p.cost)]
        assert cheapest(both, (slow.hours + fast.hours) / 2) == [fast]
        assert cheapest(both, fast.hours / 2) == []

    def test_prices_decide(self):
        ready = planner(mixes=[{"a100x4": 1}, {"h20x8": 1}], prices={"a100x4": 1, "h20x8": 100})
        (best,) = cheapest([ready.predict(*ready.cells[0], m) for m in ready.plan.mixes], None)
        assert best.mix == {"a100x4": 1}
        assert best.cost == pytest.approx(best.hours)

    @pytest.mark.parametrize(
        ("changes", "mix", "words"),
        [
            ({}, {"tpu": 1}, "no node type 'tpu'"),
            ({}, {"laptop": 1}, "nothing is known of the speed of a node of type 'laptop'"),
            ({"run": "a100x4"}, {"a100x4": 1}, "no judge to plan with"),
            ({"run": "a100x4-qwen3-32b-paper", "gpus_per_judge": 1}, {"a100x4": 1}, "has no room"),
            (
                {"policies": [{"name": "deepprune", "checkpoint": "reasoning_words:25"}]},
                {"a100x4": 1},
                "have no words",
            ),
        ],
    )
    def test_what_cannot_be_planned(self, changes, mix, words):
        def predict():
            ready = planner(**changes)
            ready.predict(*ready.cells[-1], mix)

        with pytest.raises(UserError, match=words):
            predict()


class TestCommand:
    def test_the_table_and_the_verdict(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        markdown = tmp_path / "plan.md"
        small = ("--set", "num_problems=2", "--set", "num_traces=24")
        assert main(["plan", "a100-or-h20", *small, "--markdown", str(markdown)]) == 0
        said = capsys.readouterr().out
        assert "Cheapest of all:" in said and "2×a100x4+1×h20x8" in said
        lines = markdown.read_text().splitlines()
        assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|")
        assert sum(line.startswith("| ") for line in lines) == 2 + 24

    def test_json_and_a_recording(self, capsys, tmp_path):
        rows = [
            {"problem_id": "p/0", "problem": "?", "reference": "1", "sample": i, "text": "t" * 900}
            | {"answer": str(i % 2 // 1 if i > 5 else 1), "num_tokens": 600 + i}
            for i in range(12)
        ]
        (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, rows)))
        plan = {
            "run": "h20x8",
            "mixes": [{"h20x8": 1}],
            "recording": "traces.jsonl",
            "num_problems": 2,
            "num_traces": 24,
            "length_scale": 2.0,
        }
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plan))
        assert main(["plan", str(tmp_path / "mine.yaml"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        cons, pruned = said["predictions"]
        assert (cons["policy"], pruned["policy"]) == ("cons", "deepprune+")
        assert (pruned["judge"], pruned["num_generators"], pruned["num_judges"]) == (None, 8, 0)
        assert 2 * 24 * 1200 <= cons["generated_tokens"] <= 2 * 24 * 1222
        assert cons["correct"] == 2
        assert {p["policy"] for p in said["cheapest"]} == {"cons", "deepprune+"}

    def test_a_mistake_costs_one_line(self, capsys):
        assert main(["plan", "nowhere"]) == 2
        assert "no plan 'nowhere'" in capsys.readouterr().err
        assert main(["plan", "a100-or-h20", "--set", "num_problems"]) == 2
        assert "KEY=VALUE" in capsys.readouterr().err


def test_a_plan_is_of_policies_without_a_judge_unless_told_otherwise():
    plan = PlanConfig(run="a100x4", mixes=({"a100x4": 1},))
    assert [(policy.name, judge) for policy, judge in plan.cells()] == [
        ("cons", None),
        ("deepprune+", None),
    ]
    judged = PlanConfig(run="a100x4", mixes=({"a100x4": 1},), judge="noisy:0.71")
    assert [judge for _, judge in judged.cells()] == [None, None, "noisy:0.71"]
