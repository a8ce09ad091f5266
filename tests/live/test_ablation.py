"""The grid of Table 1, small: the three commands for each of its cells, for real."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.command import deepprune
from tests.unit.test_evaluate import traces_of

pytestmark = pytest.mark.live


def test_a_grid_trains_and_compares_a_judge_in_each_cell(bare_cluster, tmp_path):
    rng = np.random.default_rng(0)
    traces = [trace for number in range(12) for trace in traces_of(number, rng)]
    traces = [{**trace, "answer": str(trace["answer"])} for trace in traces]
    pq.write_table(pa.Table.from_pylist(traces), tmp_path / "traces.parquet")
    grid = {
        "recordings": [str(tmp_path / "traces.parquet")],
        "train": "miniature",
        "checkpoints": ["tokens:20"],
        "losses": ["cross_entropy", "focal"],
        "oversampling": [2],
        "pairs": {"validation": 0.25, "test": 0.34, "chars_per_token": 2.0},
        "settings": {
            "pairs_per_step": 16,
            "pairs_per_batch": 16,
            "epochs": 0.2,
            "evaluation_pairs": 40,
            "workers.cpus": 1,
        },
        "judges": ["tfidf"],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    out = tmp_path / "out"
    arguments = ("ablate", "grid.yaml", "--out", "out", "--address", bare_cluster)
    done = deepprune(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = (out / "ablation.md").read_text()
    assert "| trained | tokens:20 | cross\\_entropy | ×2 |" in table
    assert "| trained | tokens:20 | focal | ×2 |" in table
    assert table.count("| tfidf |") == 1
    for cell in ("tokens-20-cross_entropy-x2", "tokens-20-focal-x2"):
        known = json.loads((out / cell / "judge" / "judge.json").read_text())
        assert 0 < known["tau"] < 1
    before = (out / "tokens-20-focal-x2" / "judge" / "judge.json").stat().st_mtime_ns
    assert deepprune(*arguments, cwd=tmp_path).returncode == 0
    assert (out / "tokens-20-focal-x2" / "judge" / "judge.json").stat().st_mtime_ns == before
