"""The encoder judge in one process, on the miniature's own model: real steps."""

from itertools import islice

import numpy as np
import pytest
import torch

from actors.encoder_config import ENCODER_FILE, EncoderSettings
from actors.language_model import load_language_model
from actors.models import load_prompt
from actors.tokenizer import load_tokenizer
from deepprune.errors import UserError
from deepprune.statistics import mean_auroc
from tests.support.judge_training import MODEL, Kept, encoder_trainer, made_pairs, train_encoder
from training.config import LoraConfig, LossConfig, TrainConfig, WorkersConfig
from training.learners.base_model import base_model
from training.learners.encoder import EncoderLearner, pairs_by_problem, shuffled
from training.learners.engines import PlainEngine
from training.learners.judge import save_judge
from training.learners.trainer import Trainer
from training.offline.scoring import by_problem, open_judge
from training.pairs.data import PairSet

CONFIG = TrainConfig(
    kind="encoder",
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
    log = train_encoder(CONFIG, made_pairs(8, 6), made_pairs(4, 6), folder, "tokens:9")
    return folder, log


def test_it_learns_and_knows_how_good_it_is(trained):
    folder, log = trained
    losses = [progress.loss for progress in log]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    found = EncoderSettings.load(folder)
    assert found.auroc is not None and found.auroc > 0.7
    assert 0 < found.tau < 1 and 0 < found.base_rate < 1
    assert found.checkpoint == "tokens:9"


def test_it_is_read_back_and_judges_as_it_did(trained):
    folder, log = trained
    judge = open_judge(str(folder), made_pairs(), 64)
    pairs = made_pairs(4, 6)
    scores = judge.score(pairs, lambda count: None)
    assert judge.tau == pytest.approx(log[-1].tau, abs=1e-4)
    assert mean_auroc(pairs.same, scores, pairs.problem) == pytest.approx(log[-1].mean_auroc)
    assert judge.num_tokens < 64 * len(pairs.prefixes)


def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    config = CONFIG.model_copy(update={"evaluate_every": 5, "epochs": 2})
    whole, second = Kept(tmp_path), Kept(tmp_path / "again")
    pairs, held_out = made_pairs(8, 6), made_pairs(4, 6)
    encoder_trainer(config, pairs, held_out).run(whole)
    taken_up = encoder_trainer(config, pairs, held_out)
    start = taken_up._engine.load(tmp_path / "step-5")
    taken_up.run(second, start)
    losses = [progress.loss for progress in whole.log]
    assert len(losses) == 16 and start == 5
    np.testing.assert_allclose([p.loss for p in second.log], losses[5:], rtol=1e-4)
    assert second.log[-1].mean_auroc == pytest.approx(whole.log[-1].mean_auroc)


def test_it_is_symmetric_and_blind_to_the_answers(trained):
    folder, _ = trained
    judge = open_judge(str(folder), made_pairs(), None)
    pairs = made_pairs(3, 5)
    turned = PairSet(pairs.prefixes, pairs.second, pairs.first, ~pairs.same, pairs.copies)
    one, other = (judge.score(p, lambda count: None) for p in (pairs, turned))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_epoch_meets_every_problem_once():
    pairs = made_pairs(5, 20)
    shown = list(islice(shuffled(pairs_by_problem(pairs), seed=0), 10))
    assert {len(set(members)) for members in shown} == {16}
    met = [pairs.prefixes[members[0]].problem_id for members in shown]
    assert sorted(met[:5]) == sorted(met[5:]) == [f"b/{p}" for p in range(5)]


def test_few_pairs_of_many_traces_are_all_learned_from():
    whole = made_pairs(2, 60)
    few = whole[np.arange(0, len(whole), 59)]
    assert len(few) < 70
    learner = encoder_trainer(CONFIG, few, few)._learner
    labelled = {frozenset(pair) for pair in zip(few.first, few.second, strict=True)}
    engine = PlainEngine(learner.module, CONFIG, CPU)
    for batch in learner.batches(0, 1, 0):
        (members,) = batch
        assert any(pair <= set(members) for pair in labelled)
        loss, _ = learner.losses(engine, batch)
        assert torch.isfinite(loss)


@pytest.mark.parametrize("world", [1, 2])
def test_workers_share_the_problems_of_a_step(world):
    config = CONFIG.model_copy(
        update={
            "pairs_per_batch": 240,
            "pairs_per_step": 480 * world,
            "workers": WorkersConfig(num=world),
            "epochs": 2,
        }
    )
    pairs = made_pairs(8, 6)
    learner = encoder_trainer(config, pairs, pairs)._learner
    assert learner.num_steps == EncoderLearner.steps_of(config, pairs) == 4 // world
    shares = [list(learner.batches(rank, world, 0)) for rank in range(world)]
    assert {len(share) for share in shares} == {2 * learner.num_steps}
    assert {len(batch) for share in shares for batch in share} == {2}
    shown = [tuple(m) for batches in zip(*shares, strict=True) for b in batches for m in b]
    alone = islice(shuffled(pairs_by_problem(pairs), config.seed), 16)
    assert sorted(shown) == sorted(map(tuple, alone))
    later = list(learner.batches(0, world, 1))
    np.testing.assert_equal(later, shares[0][2:])


def test_a_folder_that_is_not_whole_is_refused(trained, tmp_path):
    (tmp_path / ENCODER_FILE).write_text('{"max_tokens": 64}')
    with pytest.raises(UserError, match=r"no config\.json"):
        open_judge(str(tmp_path), made_pairs(), 64)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no whole encoder judge \(head\.safetensors is missing\)"):
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
    prompt = load_prompt("miniature/judge")
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
        kept = Kept(tmp_path / loss.kind)
        encoder_trainer(config, pairs, pairs).run(kept)
        first[loss.kind] = kept.log[0].loss
    assert first["focal"] == pytest.approx(first["cross_entropy"] / 2)


def test_it_trains_low_rank_additions_and_its_head_and_merges_them(tmp_path):
    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=2), "epochs": 1})
    pairs = made_pairs(4, 6)
    learner = EncoderLearner(config, base_model(config), load_tokenizer(MODEL), pairs, pairs)
    trained = [name for name, p in learner.module.named_parameters() if p.requires_grad]
    assert all("lora_" in name or name.startswith("head.") for name in trained)
    assert any("lora_" in name for name in trained) and any("head." in name for name in trained)
    engine, kept = PlainEngine(learner.module, config, CPU), Kept(tmp_path / "state")
    Trainer(engine, learner, config).run(kept)
    learner.save(engine.weights(), kept.log[-1], "tokens:9", tmp_path)
    saved = open_judge(str(tmp_path), pairs, None).score(pairs, lambda count: None)
    learner.module.eval()
    scale = kept.log[-1]
    np.testing.assert_allclose(
        saved, scale.slope * learner.score(engine) + scale.shift, rtol=1e-2, atol=1e-2
    )
