"""The training loop in one process, on the miniature's own model: real steps, no Ray."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.language_model import load_language_model
from actors.models import load_prompt
from actors.tokenizer import load_tokenizer
from deepprune.config import JudgePrompt
from deepprune.errors import UserError
from tests.support.judge_training import CONFIG, MODEL, Kept, made_pairs
from training.config import TrainConfig, load, shipped_configs
from training.learners.batches import PairEncoder
from training.learners.engines import PlainEngine, deepspeed_config
from training.learners.judge import (
    JudgeModel,
    save_judge,
    score_prompts,
    score_sharing,
)
from training.learners.log import TrainLog, read_log
from training.learners.pairwise import PairwiseLearner, trained_prompt
from training.learners.run import absolute
from training.learners.trainer import StepMetrics, Trainer, learning_rate
from training.pairs.data import PairSet

PROMPT = {"template": "{first}{second}", "same_token": "a", "different_token": "b"}


@pytest.fixture(autouse=True)
def one_thread():
    """Several threads wait for each other longer than so small a model takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(config: TrainConfig = CONFIG, pairs: PairSet | None = None) -> Trainer:
    pairs = made_pairs() if pairs is None else pairs
    model, tokenizer = load_language_model(MODEL), load_tokenizer(MODEL)
    learner = PairwiseLearner(config, model, tokenizer, pairs, made_pairs(3))
    return Trainer(PlainEngine(learner.module, config, torch.device("cpu")), learner, config)


@pytest.mark.parametrize("path", shipped_configs(), ids=lambda path: path.stem)
def test_shipped_configurations_are_read(path):
    config = load(TrainConfig, path.stem)
    assert config.accumulation >= 1
    if config.deepspeed is not None:
        assert deepspeed_config(config)["train_batch_size"] == config.pairs_per_step


def test_training_learns_and_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    whole = Kept(tmp_path)
    trainer().run(whole)
    losses = [progress.loss for progress in whole.log]
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    last = whole.log[-1]
    assert last.auroc is not None and last.auroc > 0.75
    assert last.tau is not None and 0 < last.tau < 1
    assert last.slope is not None and last.slope > 0 and last.shift is not None

    second = Kept(tmp_path / "again")
    taken_up = trainer()
    start = taken_up._engine.load(tmp_path / "step-5")
    taken_up.run(second, start)
    assert start == 5
    assert [progress.step for progress in second.log] == list(range(6, len(losses) + 1))
    np.testing.assert_allclose([p.loss for p in second.log], losses[5:], rtol=1e-4)


def test_a_checkpoint_comes_after_some_evaluations_and_at_the_end(tmp_path):
    kept = Kept(tmp_path)
    config = CONFIG.model_copy(update={"evaluate_every": 3, "checkpoint_every": 2, "epochs": 1})
    trainer(config).run(kept)
    last = len(kept.log)
    evaluated = [metrics.step for metrics in kept.log if metrics.auroc is not None]
    assert evaluated == [*range(3, last, 3), last]
    saved = sorted(int(path.name.removeprefix("step-")) for path in tmp_path.iterdir())
    assert saved == [*range(6, last, 6), last]


def test_a_folder_for_checkpoints_is_absolute_since_workers_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("runs/a") == str(tmp_path / "runs" / "a")
    assert absolute("gs://bucket/a") == "gs://bucket/a"


def test_training_on_a_kind_of_gpu_reserves_a_share_of_it():
    config = load(TrainConfig, "qwen3-4b_a100x4")
    assert config.resources == {"CPU": 8, "GPU": 1, "accelerator_type:A100": 0.001}


def test_accumulated_batches_are_one_large_batch():
    one, several = (Kept(Path()) for _ in range(2))
    for kept, size in ((one, 8), (several, 2)):
        config = CONFIG.model_copy(update={"pairs_per_batch": size, "evaluate_every": 1000})
        made = trainer(config)
        made._learner.num_steps = 1
        # The same eight pairs, whatever the size of a batch.
        made._learner.batches = lambda *_, size=size: iter(np.split(np.arange(8), 8 // size))
        kept.checkpoint = lambda engine, progress: None
        made.run(kept)
    assert one.log[0].loss == pytest.approx(several.log[0].loss, rel=1e-5)
    assert one.log[0].grad_norm == pytest.approx(several.log[0].grad_norm, rel=1e-4)


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_checkpoint(tmp_path):
    kept = Kept(tmp_path)
    made = trainer()
    batches = made._learner.batches

    def spoiled(*place: int):
        for number, batch in enumerate(batches(*place)):
            if number == 2 * 7:
                with torch.no_grad():
                    next(made._engine.module.parameters()).fill_(math.nan)
            yield batch

    made._learner.batches = spoiled
    with pytest.raises(UserError, match=r"loss of step 8 is nan.*checkpoint is kept"):
        made.run(kept)
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]
    assert trainer()._engine.load(tmp_path / "step-5") == 5


@pytest.mark.parametrize("kind", ["agree", "differ", "none"])
def test_pairs_of_one_class_are_refused(kind):
    pairs = made_pairs()
    chosen = {"agree": pairs.same, "differ": ~pairs.same, "none": pairs.same & ~pairs.same}[kind]
    with pytest.raises(UserError, match="no pairs to train on" if kind == "none" else kind):
        trainer(pairs=pairs[chosen])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers.num": 3}, "pairs_per_step 16 is not a multiple"),
        ({"deepspeed": None}, "needs a deepspeed section"),
        ({"loss.kind": "hinge"}, "loss.kind"),
        ({"loss.alpha": 1.5}, "loss.alpha"),
        ({"learning_rat": 1}, "learning_rat"),
        ({"kind": "encoder", "loss.reading": 0.3}, "loss.reading is a pairwise judge's"),
        ({"kind": "encoder", "prompt": PROMPT}, "prompt is a pairwise judge's"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        load(TrainConfig, "tiny", settings)


def test_the_rate_rises_and_falls():
    rates = [learning_rate(CONFIG, step, 100) for step in range(1, 101)]
    peak = rates.index(max(rates))
    assert peak == round(CONFIG.warmup * 100) - 1
    assert max(rates) == pytest.approx(CONFIG.learning_rate)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(CONFIG.learning_rate / 10)


def test_a_shared_beginning_read_once_gives_the_same_scores():
    pairs = made_pairs(2)
    encoder = PairEncoder(load_prompt(MODEL), load_tokenizer(MODEL), 96)
    module = JudgeModel(load_language_model(MODEL), encoder.answer_ids).eval()
    prompts, device = encoder.encode_all(pairs), torch.device("cpu")
    plain = score_prompts(module, prompts, device)
    np.testing.assert_allclose(
        score_sharing(module, prompts, pairs.first, device), plain, rtol=1e-3, atol=1e-3
    )
    shares = [score_prompts(module, prompts, device, rank=r, world=3) for r in range(3)]
    np.testing.assert_allclose(sum(shares), plain, rtol=1e-3, atol=1e-3)


def test_a_saved_judge_carries_what_its_evaluation_says(tmp_path):
    says = {"auroc": 0.9, "mean_auroc": 0.4, "slope": 1.7, "shift": 0.6, "tau": 1.0}
    progress = StepMetrics(1, 1, 0.1, 0.1, 0.1, 1.0, **says, base_rate=0.7)
    prompt = trained_prompt(load_prompt(MODEL), progress, "tokens:54", 192)
    assert (prompt.tau, prompt.auroc, prompt.base_rate) == (0.999, 0.5, 0.7)
    assert (prompt.checkpoint, prompt.max_tokens) == ("tokens:54", 192)
    assert (prompt.slope, prompt.shift) == (1.7, 0.6)
    save_judge(load_language_model(MODEL), load_tokenizer(MODEL), prompt, tmp_path)
    assert load_prompt(str(tmp_path)) == prompt
    (tmp_path / "judge.json").write_text(json.dumps({"template": "nothing"}))
    with pytest.raises(UserError, match="does not validate"):
        load_prompt(str(tmp_path))


def test_an_evaluation_without_a_verdict_leaves_no_number():
    progress = StepMetrics(1, 1, 0.1, 0.1, 0.1, 1.0, auroc=math.nan, mean_auroc=math.nan)
    prompt = trained_prompt(
        JudgePrompt(template="{first}{second}", same_token="a", different_token="b"),
        progress,
        "tokens:5",
        192,
    )
    assert prompt.auroc is prompt.tau is prompt.base_rate is None
    assert (prompt.slope, prompt.shift) == (1, 0)
    assert progress.score == 1


def test_lora_trains_additions_only_and_is_merged_when_saved(tmp_path):
    from training.config import LoraConfig
    from training.learners.base_model import with_lora, with_weights

    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=2)})
    module = JudgeModel(with_lora(load_language_model(MODEL), config.lora), (5, 6))
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "lora_" in name:
                p.add_(0.01)
    judge = with_weights(lambda model: JudgeModel(model, (5, 6)), module.state_dict(), config)
    save_judge(judge.language_model, load_tokenizer(MODEL), load_prompt(MODEL), tmp_path)
    again = JudgeModel(load_language_model(str(tmp_path)), (5, 6))
    tokens, last = torch.arange(12)[None], torch.tensor([11])
    torch.testing.assert_close(again(tokens, last), module(tokens, last), rtol=1e-4, atol=1e-4)


def test_a_log_rewritten_from_an_earlier_step_has_each_step_once(tmp_path):
    log = TrainLog(tmp_path)
    for step in (1, 2, 3, 4):
        log.add(StepMetrics(step, 5, float(step), 0.1, 0.1, 1.0))
    log.close()
    log = TrainLog(tmp_path)
    assert log.last_step == 4
    for step in (3, 4, 5):
        log.add(StepMetrics(step, 5, 10.0 * step, 0.1, 0.1, 1.0))
    log.close()
    assert [float(row["loss"]) for row in read_log(tmp_path)] == [1, 2, 30, 40, 50]
