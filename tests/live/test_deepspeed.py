"""DeepSpeed at every ZeRO stage makes the updates that plain PyTorch makes; one process, gloo."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from actors.language_model import load_language_model
from actors.tokenizer import load_tokenizer
from tests.support.judge_training import CONFIG, MODEL, Kept, made_pairs
from training.config import DeepSpeedConfig, LoraConfig, LossConfig, TrainConfig
from training.learners.base_model import base_model
from training.learners.encoder import EncoderLearner
from training.learners.engines import DeepSpeedEngine, PlainEngine
from training.learners.judge import JudgeModel
from training.learners.pairwise import PairwiseLearner
from training.learners.trainer import Trainer
from training.learners.worker import LEARNERS
from training.offline.scoring import open_judge

pytestmark = pytest.mark.live

CPU = torch.device("cpu")
BASE = CONFIG.model_copy(update={"epochs": 0.5, "loss": LossConfig(reading=0.3)})
ENCODER = {
    "kind": "encoder",
    "loss": LossConfig(),
    "epochs": 3,
    "pairs_per_step": 240,
    "pairs_per_batch": 120,
}


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    """A process group of one, as Ray Train sets it up in each worker."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        for name, value in {
            "DS_ACCELERATOR": "cpu",
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }.items():
            patch.setenv(name, value)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo")
        yield
        torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


def learner_of(config: TrainConfig) -> PairwiseLearner | EncoderLearner:
    torch.manual_seed(0)
    model, tokenizer = base_model(config), load_tokenizer(MODEL)
    return LEARNERS[config.kind](config, model, tokenizer, made_pairs(), made_pairs(2))


def losses_of(engine, config: TrainConfig, folder) -> list[float]:
    """Train; check on the way that the saved judge scores as the one in training does."""
    learner, kept = learner_of(config), Kept(folder)
    made = engine(learner.module, config, CPU)
    Trainer(made, learner, config).run(kept)
    made.module.eval()
    with torch.no_grad():
        scores = learner.score(made)
    last = kept.log[-1]
    learner.save(made.weights(), last, "tokens:9", folder)
    saved = open_judge(str(folder), made_pairs(), config.max_tokens)
    again = saved.score(learner.validation, lambda count: None)
    np.testing.assert_allclose(again, last.slope * scores + last.shift, rtol=1e-2, atol=1e-2)
    return [progress.loss for progress in kept.log]


@pytest.mark.parametrize(
    "changes",
    [{}, {"lora": LoraConfig(rank=2), "gradient_checkpointing": True}, ENCODER],
    ids=["whole", "lora", "encoder"],
)
def test_every_stage_follows_the_curve_of_plain_pytorch(group, changes, tmp_path):
    config = BASE.model_copy(update=changes)
    plain = losses_of(PlainEngine, config, tmp_path / "plain")
    for stage in (1, 2, 3) if config.lora is None else (2,):
        settings = {"deepspeed": DeepSpeedConfig(zero_stage=stage)}
        losses = losses_of(
            DeepSpeedEngine, config.model_copy(update=settings), tmp_path / str(stage)
        )
        np.testing.assert_allclose(losses, plain, rtol=1e-3)


@pytest.mark.parametrize("engine", [PlainEngine, DeepSpeedEngine])
def test_weights_are_bf16_and_rotary_frequencies_stay_exact(group, engine):
    settings = {"precision": "bf16", "deepspeed": DeepSpeedConfig(zero_stage=2)}
    module = JudgeModel(load_language_model(MODEL), (1, 2))
    exact = load_language_model(MODEL).get_decoder().rotary_emb.inv_freq
    engine(module, BASE.model_copy(update=settings), CPU)
    decoder = module.language_model.get_decoder()
    assert {weight.dtype for weight in decoder.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(decoder.rotary_emb.inv_freq, exact, rtol=0, atol=0)
