from __future__ import annotations

import pytest
import yaml

from deepprune.errors import UserError
from deepprune.loading import find
from deepprune.sweep_config import SweepConfig, load_sweep
from jobs.sweep.command import SWEEPS
from jobs.sweep.replay_judges import JudgeSpec

SHIPPED = sorted(SWEEPS.glob("*.yaml"))


def sweep(**keys) -> SweepConfig:
    return SweepConfig.model_validate({"recordings": ["traces.jsonl"]} | keys)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_sweep_is_valid_and_found_by_its_name(path):
    assert find(path.stem, SHIPPED) == path
    cells = load_sweep(path).cells()
    assert cells
    assert len({cell.key for cell in cells}) == len(cells)


def test_settings_are_combined_with_each_other_and_only_where_they_apply():
    config = sweep(
        policies=[{"name": "cons"}, {"name": "deepprune"}, {"name": "deepprune+"}],
        judges=["tfidf", "noisy:0.8"],
        num_traces=[16, 64],
        checkpoints=["tokens:100", "reasoning_words:5"],
        tau=[0.4, 0.5],
    )
    cells = config.cells()
    by_name = {name: [c for c in cells if c.policy.name == name] for name in ("cons", "deepprune")}
    assert len(by_name["cons"]) == 2  # no judge, no checkpoint, no tau
    assert len(by_name["deepprune"]) == 3 * 2 * 2 * 2  # both judges, and a blind one
    assert len(cells) == 2 + 24 + 16  # deepprune+ knows no tau, and can do without a judge


def test_what_a_policy_sets_itself_stays():
    config = sweep(
        policies=[{"name": "deepprune", "num_traces": 8, "tau": 0.9}, {"name": "cons"}],
        judges=["tfidf"],
        num_traces=[16, 32],
        tau=[0.5],
    )
    settings = [(c.policy.name, c.policy.num_traces) for c in config.cells()]
    assert settings == [*2 * [("deepprune", 8)], ("cons", 16), ("cons", 32)]
    assert config.cells()[0].policy.tau == 0.9


def test_the_oracle_is_given_no_other_judge_and_the_same_cell_is_there_once():
    config = sweep(
        policies=[{"name": "oracle"}, {"name": "cons"}, {"name": "cons"}],
        judges=["tfidf", "oracle"],
    )
    assert [(c.policy.name, c.judge) for c in config.cells()] == [
        ("oracle", "oracle"),
        ("cons", None),
    ]


def test_who_credits_a_judge_is_also_run_blind_and_without():
    policies = [{"name": "cons"}, {"name": "deepprune"}, {"name": "deepprune+"}]
    pairs = [
        (c.policy.name, c.judge) for c in sweep(policies=policies, judges=["features"]).cells()
    ]
    assert pairs == [
        ("cons", None),
        *(("deepprune", judge) for judge in ("features", "blind")),
        *(("deepprune+", judge) for judge in ("features", None, "blind")),
    ]
    bare = sweep(policies=policies, judges=["features"], controls=False).cells()
    assert [c.judge for c in bare] == [None, "features", "features"]


def test_a_policy_that_asks_no_judge_is_crossed_with_none():
    plus = [{"name": "deepprune+", "trust": 0.0}, {"name": "deepprune+"}]
    cells = sweep(policies=plus, judges=["features", "noisy:0.8"]).cells()
    assert [c.judge for c in cells if c.policy.trust == 0] == [None]
    assert [c.judge for c in sweep(policies=plus[1:], judges=["none"]).cells()] == [None]


def test_a_live_sweep_runs_what_can_do_without_a_judge_also_so():
    live = {"recordings": [], "runs": ["laptop"], "benchmarks": ["miniature"]}
    cells = sweep(policies=[{"name": "deepprune"}, {"name": "deepprune+"}], **live).cells()
    found = [(c.policy.name, c.judge, getattr(c.policy, "trust", None)) for c in cells]
    assert found == [
        ("deepprune", "model", None),
        ("deepprune+", "model", 0.8),
        ("deepprune+", None, 0.0),
    ]


def test_a_judge_learned_elsewhere_is_a_folder_beside_the_sweep(tmp_path):
    (tmp_path / "cheap").mkdir()
    (cell, *_) = sweep(policies=[{"name": "deepprune"}], judges=["features:cheap"]).cells()
    spec = JudgeSpec.of(cell).resolved(tmp_path)
    assert spec.name == f"features:{tmp_path / 'cheap'}"
    with pytest.raises(UserError, match="no folder elsewhere"):
        spec._replace(name="encoder:elsewhere").resolved(tmp_path)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"policies": [{"name": "deepprune"}], "judges": ["none"]}, "asks a judge"),
        ({"policies": [{"name": "cons"}], "speeed": {}}, "speeed: unknown key"),
        ({"policies": []}, "policies"),
        ({"policies": [{"name": "magic"}]}, "'magic'"),
        ({"policies": [{"name": "cons"}], "judges": ["gut feeling"]}, "'gut feeling' is no judge"),
        ({"policies": [{"name": "cons"}], "judges": ["recorded"]}, "needs scores"),
        ({"policies": [{"name": "cons"}], "problems": "three"}, "first:last"),
        ({"policies": [{"name": "cons"}], "recordings": []}, "recordings, to replay, or runs"),
        ({"policies": [{"name": "cons"}], "recordings": [], "runs": ["laptop"]}, "benchmarks"),
        ({"policies": [{"name": "cons"}], "checkpoints": ["soon"]}, "soon"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, keys, said):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"recordings": ["traces.jsonl"]} | keys))
    with pytest.raises(UserError) as error:
        load_sweep(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_neither_file_nor_shipped_lists_what_there_is():
    with pytest.raises(UserError, match=r"'nowhere': give a file, or one of .*paper"):
        find("nowhere", SHIPPED)
