"""The encoder judge in one process, on the miniature's own model: real steps."""

import numpy as np
import pytest
import torch

from actors.encoder_settings import ENCODER_FILE
from actors.language_model import load_language_model, load_tokenizer
from deepprune.errors import UserError
from tests.unit.made_judging import MODEL, made_pairs
from training.config import LossConfig, TrainConfig
from training.data import PairSet
from training.encoder import epochs
from training.encoder_run import train_encoder
from training.judge import prompt_beside, save_judge
from training.metrics import mean_auroc
from training.scoring import by_problem, open_judge

CONFIG = TrainConfig(
    model="miniature/reasoner",
    max_tokens=64,
    learning_rate=3e-4,
    pairs_per_step=128,
    pairs_per_batch=128,
    precision="fp32",
    epochs=8,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "judge"
    losses = []
    pairs = made_pairs(8, 6)
    settings = train_encoder(
        CONFIG, pairs, made_pairs(4, 6), folder, "tokens:9", CPU, losses.append
    )
    return folder, settings, losses


def test_it_learns_and_knows_how_good_it_is(trained):
    _, found, losses = trained
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert found.auroc is not None and found.auroc > 0.7
    assert 0 < found.tau < 1 and 0 < found.base_rate < 1
    assert found.checkpoint == "tokens:9"


def test_it_is_read_back_and_judges_as_it_did(trained):
    folder, found, _ = trained
    judge = open_judge(str(folder), made_pairs(), 64)
    pairs = made_pairs(4, 6)
    scores = judge.score(pairs, lambda count: None)
    assert judge.tau == found.tau
    assert mean_auroc(pairs.same, scores, pairs.problem) == pytest.approx(found.auroc)
    assert judge.num_tokens < 64 * len(pairs.prefixes)


def test_it_is_symmetric_and_blind_to_the_answers(trained):
    folder, _, _ = trained
    judge = open_judge(str(folder), made_pairs(), None)
    pairs = made_pairs(3, 5)
    turned = PairSet(pairs.prefixes, pairs.second, pairs.first, ~pairs.same, pairs.copies)
    one, other = (judge.score(p, lambda count: None) for p in (pairs, turned))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_epoch_meets_every_problem_once():
    pairs = made_pairs(5, 6)
    steps = list(epochs(pairs, per_problem=4, problems_per_step=2, num_epochs=2, seed=0))
    assert [len(step) for step in steps] == [2, 2, 1] * 2
    met = [pairs.prefixes[m[0]].problem_id for step in steps[:3] for m in step]
    assert sorted(met) == [f"b/{p}" for p in range(5)]


def test_pairs_of_one_class_are_refused(tmp_path):
    pairs = made_pairs()
    with pytest.raises(UserError, match="training pairs agree"):
        train_encoder(CONFIG, pairs[pairs.same], pairs, tmp_path, "tokens:9", CPU, lambda *_: None)


def test_a_folder_that_is_not_whole_is_refused(trained, tmp_path):
    (tmp_path / ENCODER_FILE).write_text('{"max_tokens": 64}')
    with pytest.raises(UserError, match=r"no config\.json"):
        open_judge(str(tmp_path), made_pairs(), 64)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no whole encoder judge \(head\.pt is missing\)"):
        open_judge(str(tmp_path), made_pairs(), 64)


def test_pairs_come_back_by_problem_with_their_own_texts():
    pairs = made_pairs(3, 4)[np.array([17, 0, 9, 5])]
    groups = list(by_problem(pairs))
    assert sorted(i for group in groups for i in group.pairs) == [0, 1, 2, 3]
    for group in groups:
        for place, a, b in zip(group.pairs, group.first, group.second, strict=True):
            assert group.texts[a] == pairs.prefixes[pairs.first[place]].text
            assert group.texts[b] == pairs.prefixes[pairs.second[place]].text


def test_a_language_model_judges_pairs_without_training():
    judge = open_judge("miniature/judge", made_pairs(), 128)
    pairs = made_pairs(1, 3)
    done = []
    scores = judge.score(pairs, done.append)
    assert np.isfinite(scores).all() and sum(done) == len(pairs) == len(scores)
    assert judge.num_tokens > 0


def test_a_judge_says_what_its_calibration_makes_of_its_answer(tmp_path):
    prompt = prompt_beside("miniature/judge")
    found = []
    for slope, shift in ((1.0, 0.0), (0.5, -2.0)):
        folder = tmp_path / str(slope)
        asked = prompt.model_copy(update={"slope": slope, "shift": shift})
        save_judge(load_language_model("miniature/judge"), load_tokenizer(MODEL), asked, folder)
        judge = open_judge(str(folder), made_pairs(), 128)
        found.append(judge.score(made_pairs(2, 3), lambda count: None))
    np.testing.assert_allclose(found[1], 0.5 * found[0] - 2)


def test_it_learns_by_the_configured_loss(tmp_path):
    pairs, first = made_pairs(4, 6), {}
    for loss in (LossConfig(kind="cross_entropy"), LossConfig(kind="focal", gamma=0, alpha=0.5)):
        config = CONFIG.model_copy(update={"loss": loss, "epochs": 1})
        losses = []
        train_encoder(config, pairs, pairs, tmp_path / loss.kind, "tokens:9", CPU, losses.append)
        first[loss.kind] = losses[0]
    assert first["focal"] == pytest.approx(first["cross_entropy"] / 2)
