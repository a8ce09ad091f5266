"""`deepprune evaluate`, end to end on small made-up pairs, and what it refuses."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.deploy.preflight import with_calibration
from actors.models import MINIATURE
from cluster.configs import resolve_config
from deepprune.config import load_config
from deepprune.feature_judge import FeatureJudge
from deepprune.schemas import SCORES
from jobs.cli import main
from jobs.sweep.recorded_scores import load_scores
from training.config import PairsConfig
from training.pairs.data import MANIFEST, PREFIXES, load_pairs
from training.pairs.pair_up import pair_up, prefixes_of

CONFIG = PairsConfig(checkpoints=["tokens:20"], chars_per_token=2)
SPLITS = ["train"] * 5 + ["validation"] * 3 + ["test"] * 4


def traces_of(number, rng, *, alike=False):
    """Traces whose text tells their answer before the checkpoint, most of the time."""
    for sample in range(8):
        answer = 10 + number if alike else rng.choice([10 + number, 70 + number, 90 + number])
        shown = answer if rng.random() < 0.8 else rng.integers(100, 200)
        yield {
            "benchmark": "made",
            "problem_id": f"made/{number}",
            "problem": f"Find x of problem {number}.",
            "model": "m",
            "sample": sample,
            "text": f"First, x = {shown}. So it is {shown}. " + "And on it goes. " * 5,
            "answer": str(answer),
        }


def write_pairs(folder, *, alike=(), splits=SPLITS):
    """A folder as `deepprune pairs` writes it."""
    rng = np.random.default_rng(0)
    prefixes, pairs = [], []
    for number, split in enumerate(splits):
        rows = []
        for trace in traces_of(number, rng, alike=split in alike):
            rows += prefixes_of(trace, CONFIG)[0]
        prefixes += rows
        pairs.append(pair_up(rows, CONFIG, split))
    tables = {
        "prefixes": pa.Table.from_pylist(prefixes, PREFIXES),
        "pairs": pa.concat_tables(pairs),
    }
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "part-000000.parquet")
    manifest = {"config": CONFIG.model_dump(mode="json")}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def evaluate(pairs, out, *judges, options=()):
    named = [part for judge in judges for part in ("--judge", judge)]
    return main(["evaluate", str(pairs), *named, "--out", str(out), *options])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("made") / "pairs")


@pytest.fixture(scope="module")
def evaluated(pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    assert evaluate(pairs, out, "always-same", "tfidf", "features") == 0
    return out


def test_judges_stand_in_one_table_with_figures_that_make_sense(evaluated):
    data = json.loads((evaluated / "evaluation.json").read_text())
    figures = next(p for p in data["places"] if p["pairs"] == "all pairs")["judges"]
    assert figures["always-same"]["pooled"] == [0.5, 0.5, 0.5]
    assert figures["always-same"]["tnr"][0] == 0
    assert figures["always-same"]["recall"] == 1
    assert figures["features"]["within"][0] > 0.75 > figures["always-same"]["within"][0]
    low, high = figures["features"]["pooled"][1:]
    assert low < figures["features"]["pooled"][0] < high


def test_report_and_plots_are_there_and_need_nothing_else(evaluated):
    page = (evaluated / "evaluation.html").read_text()
    assert "features" in page and "data:image/svg+xml" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    for name in ("roc.png", "calibration.png"):
        assert (evaluated / name).read_bytes().startswith(b"\x89PNG")
    assert "| features |" in (evaluated / "evaluation.md").read_text()


def test_scores_serve_a_replay(pairs, evaluated):
    scores = load_scores([evaluated / "scores" / "features.parquet"])
    test = load_pairs(pairs, ["test"])
    parts = [part for known in scores.values() for part in known.parts]
    assert sum(len(p_same) for _, _, p_same in parts) == len(test)
    assert scores["made/8", "m", "tokens:20"].reads == "nothing"
    assert all(((p_same > 0) & (p_same < 1)).all() for _, _, p_same in parts)


def test_of_scores_of_several_seeds_those_of_the_first_count(tmp_path):
    rows = [
        {
            "benchmark": "b",
            "problem_id": "b/1",
            "model": "m",
            "cell": f"deepprune-0123456789/{seed}",
            "checkpoint": "tokens:20",
            "first": 0,
            "second": second,
            "p_same": seed / 10,
        }
        for seed, second in ((3, 1), (2, 1), (3, 2), (2, 3))
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCORES), tmp_path / "scores.parquet")
    (scores,) = load_scores([tmp_path / "scores.parquet"]).values()
    matrix = scores.matrix_of([0, 1, 2, 3]).matrix
    assert matrix[0, [1, 3]] == pytest.approx([0.2, 0.2])
    assert np.isnan(matrix[0, 2])


def test_nothing_is_scored_twice(pairs, evaluated):
    before = (evaluated / "scores" / "features.parquet").stat().st_mtime_ns
    assert evaluate(pairs, evaluated, "features", "always-same") == 0
    assert (evaluated / "scores" / "features.parquet").stat().st_mtime_ns == before


def test_a_cascade_is_drawn(pairs, tmp_path):
    assert evaluate(pairs, tmp_path, "tfidf", "features", options=["--cascade"]) == 0
    steps = json.loads((tmp_path / "evaluation.json").read_text())["cascade"]
    assert [steps[0]["share"], steps[-1]["share"]] == [0, 1]
    assert steps[-1]["within"] > steps[0]["within"]
    assert (tmp_path / "cascade.png").exists()


@pytest.mark.parametrize(
    ("split", "alike", "judge", "message"),
    [
        ("test", ["test"], "tfidf", "agree, so there is nothing to tell apart"),
        ("test", ["train"], "features", "nothing to learn from"),
        ("test", [], "./no-such-folder", "no config.json"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(tmp_path, capsys, split, alike, judge, message):
    pairs = write_pairs(tmp_path / "pairs", alike=alike)
    assert evaluate(pairs, tmp_path / "out", judge, options=["--split", split]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("deepprune: ") and message in error


def test_a_judge_is_evaluated_on_pairs_that_all_are_test_pairs(pairs, tmp_path):
    assert main(["cheap", str(pairs), "--out", str(tmp_path / "judge")]) == 0
    all_test = write_pairs(tmp_path / "pairs", splits=["test"] * 6)
    judge = str(tmp_path / "judge")
    assert evaluate(all_test, tmp_path / "out", judge, "tfidf", "always-same") == 0
    (file,) = (tmp_path / "out" / "scores").glob("*judge-*.parquet")
    assert len(pq.read_table(file)) == len(load_pairs(all_test, ["test"]))
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    saved = json.loads((tmp_path / "judge" / "features.json").read_text())
    assert [known["tau"] for known in data["judges"]] == [saved["tau"], 0.5, 0.5]


def test_no_pairs_at_all(tmp_path, capsys):
    assert evaluate(tmp_path, tmp_path / "out", "tfidf") == 2
    assert "no finished folder of pairs" in capsys.readouterr().err


def test_a_threshold_needs_a_folder_to_be_saved_in(pairs, tmp_path, capsys):
    assert evaluate(pairs, tmp_path, "tfidf", options=["--save-threshold"]) == 2
    assert "--save-threshold" in capsys.readouterr().err


def test_other_pairs_do_not_mix_with_saved_scores(pairs, evaluated, capsys):
    assert evaluate(pairs, evaluated, "tfidf", options=["--max-pairs", "20"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_a_feature_judge_is_learned_saved_and_evaluated(pairs, tmp_path):
    judge, out = tmp_path / "judge", tmp_path / "out"
    assert main(["cheap", str(pairs), "--out", str(judge)]) == 0
    assert evaluate(pairs, out, str(judge), "features") == 0
    data = json.loads((out / "evaluation.json").read_text())
    saved, learned = data["places"][0]["judges"].values()
    assert saved["pooled"] == learned["pooled"]
    assert 0 < saved["tau"] < 1
    assert main(["cheap", str(pairs), "--out", str(judge)]) == 2  # it is there already


def test_a_threshold_is_saved_for_a_judge_that_was_evaluated_before(pairs, tmp_path):
    judge, out = tmp_path / "judge", tmp_path / "out"
    assert main(["cheap", str(pairs), "--out", str(judge)]) == 0
    file = judge / "features.json"
    built = json.loads(file.read_text())
    file.write_text(json.dumps(built | {"tau": None}))
    assert evaluate(pairs, out, str(judge)) == 0
    (scores,) = (out / "scores").iterdir()
    scored = scores.stat().st_mtime_ns
    assert evaluate(pairs, out, str(judge), options=["--save-threshold"]) == 0
    assert json.loads(file.read_text()) == built
    assert scores.stat().st_mtime_ns == scored, "what changed is the threshold, not the judge"
    (shown,) = json.loads((out / "evaluation.json").read_text())["judges"]
    assert shown["tau"] == built["tau"]


def test_a_judge_built_again_at_its_path_is_scored_again(pairs, tmp_path):
    judge, out = tmp_path / "judge", tmp_path / "out"
    assert main(["cheap", str(pairs), "--out", str(judge)]) == 0
    assert evaluate(pairs, out, str(judge)) == 0
    (scores,) = (out / "scores").iterdir()
    before = pq.read_table(scores)["p_same"].to_numpy()
    saved = FeatureJudge.load(judge)
    opposite = tuple(-weight for weight in saved.weights)
    saved.model_copy(update={"weights": opposite, "intercept": -saved.intercept}).save(judge)
    assert evaluate(pairs, out, str(judge)) == 0
    (scores,) = (out / "scores").iterdir()
    assert not np.allclose(pq.read_table(scores)["p_same"].to_numpy(), before)


def test_a_threshold_is_saved_where_runs_find_it(pairs, tmp_path):
    judge = tmp_path / "judge"
    shutil.copytree(MINIATURE / "judge", judge)
    before = json.loads((judge / "judge.json").read_text())
    options = ["--save-threshold", "--target-error", "0.1", "--max-pairs", "40"]
    assert evaluate(pairs, tmp_path / "out", str(judge), options=options) == 0
    after = json.loads((judge / "judge.json").read_text())
    assert after["template"] == before["template"]
    assert after["tau"] != before.get("tau") and after["base_rate"] != before.get("base_rate")
    run = load_config(resolve_config("laptop-pairwise"), {"judge.engine.model": str(judge)})
    assert run.policy.tau is None
    assert with_calibration(run).policy.tau == after["tau"]
