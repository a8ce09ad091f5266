"""DeepSpeed at every ZeRO stage makes the updates that plain PyTorch makes; one process, gloo."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from actors.language_model import load_language_model, load_tokenizer
from tests.unit.made_judging import CONFIG, MODEL, Kept, made_pairs
from training.batches import PairEncoder
from training.config import DeepSpeedConfig, LoraConfig, LossConfig, TrainConfig
from training.engines import DeepSpeedEngine, PlainEngine
from training.judge import (
    JudgeModel,
    prompt_beside,
    save_judge,
    score_prompts,
    trained_model,
    with_lora,
)
from training.trainer import Trainer

pytestmark = pytest.mark.live

CPU = torch.device("cpu")
BASE = CONFIG.model_copy(update={"epochs": 0.5, "loss": LossConfig(reading=0.3)})


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


def losses_of(engine, config: TrainConfig, folder) -> list[float]:
    """Train; check on the way that the saved judge scores as the one in training does."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(MODEL)
    encoder = PairEncoder(prompt_beside(MODEL), tokenizer, config.max_tokens)
    language_model = load_language_model(MODEL, gradient_checkpointing=config.lora is not None)
    if config.lora is not None:
        language_model = with_lora(language_model, config.lora)
    module = JudgeModel(language_model, encoder.answer_ids)
    made = engine(module, config, CPU)
    trainer = Trainer(made, encoder, made_pairs(), made_pairs(2), config, tokenizer.pad_token_id)
    kept = Kept(folder)
    trainer.run(kept)
    save_judge(
        trained_model(module, made.weights(), config), tokenizer, prompt_beside(MODEL), folder
    )
    saved = JudgeModel(load_language_model(str(folder)), encoder.answer_ids).eval()
    prompts = encoder.encode_all(made_pairs(2))
    np.testing.assert_allclose(
        score_prompts(saved, prompts, CPU), trainer.score(prompts), rtol=1e-3, atol=1e-3
    )
    return [progress.loss for progress in kept.log]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["whole", "lora"])
def test_every_stage_follows_the_curve_of_plain_pytorch(group, lora, tmp_path):
    config = BASE.model_copy(update={"lora": lora})
    plain = losses_of(PlainEngine, config, tmp_path / "plain")
    for stage in (1, 2, 3) if lora is None else (2,):
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
