"""P(same) of a bf16 judge has no steps: its two answers are scored in float32."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from actors.judges import pairwise
from actors.language_model import load_language_model
from actors.models import load_prompt
from deepprune.config import EngineConfig, VllmJudgeConfig
from training.config import LoraConfig
from training.learners.base_model import with_lora
from training.learners.judge import JudgeModel

MODEL = "miniature/judge"
IDS = (11, 12)


def judge(dtype: torch.dtype, lora: bool = False) -> JudgeModel:
    torch.manual_seed(0)
    model = load_language_model(MODEL, dtype=dtype)
    return JudgeModel(with_lora(model, LoraConfig(rank=2)) if lora else model, IDS).eval()


def nearby_prompts(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts that differ in one token of their middles."""
    tokens = torch.randint(20, 500, (1, 40), generator=torch.Generator().manual_seed(0))
    tokens = tokens.repeat(num, 1)
    tokens[:, 20] = torch.arange(20, 20 + num)
    return tokens, torch.full((num,), 39)


@pytest.mark.parametrize("lora", [False, True])
@torch.no_grad()
def test_scores_of_nearby_pairs_differ(lora):
    logits = judge(torch.bfloat16, lora)(*nearby_prompts(200))
    assert logits.dtype == torch.float32
    scores = logits[:, 1] - logits[:, 0]
    assert len(scores.unique()) > 195, "hardly any ties"
    assert (scores != scores.bfloat16().float()).float().mean() > 0.9, "no steps"


@torch.no_grad()
def test_in_float32_the_scores_are_those_of_the_head():
    model, (tokens, last) = judge(torch.float32), nearby_prompts(5)
    whole = model.language_model(input_ids=tokens).logits[:, -1, list(IDS)]
    torch.testing.assert_close(model(tokens, last), whole)


def test_the_answer_rows_and_the_layers_below_learn():
    model = judge(torch.bfloat16)
    logits = model(*nearby_prompts(4))
    (logits[:, 1] - logits[:, 0]).sum().backward()
    rows = model.language_model.get_output_embeddings().weight.grad.abs().sum(1)
    assert rows[list(IDS)].gt(0).all()
    layers = model.language_model.get_decoder().layers
    assert all(w.grad.abs().sum() > 0 for w in layers[0].self_attn.parameters())


def test_the_served_judge_scores_in_float32(monkeypatch):
    asked = {}

    def start(config: EngineConfig, *_: object) -> SimpleNamespace:
        asked.update(config.engine_args)
        return SimpleNamespace(model_config=SimpleNamespace(max_model_len=512))

    monkeypatch.setattr(pairwise, "start_engine", start)
    for given, expected in (({}, "float32"), ({"head_dtype": "model"}, "model")):
        config = VllmJudgeConfig.model_validate(
            {"engine": {"model": MODEL, "engine_args": {"hf_overrides": {"a": 1} | given}}}
        )
        pairwise.Judge(config, load_prompt(MODEL), None, 1.0)._retired = True
        assert asked["hf_overrides"] == {"a": 1, "head_dtype": expected}
