import ast
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from actors.encoder_config import EncoderSettings
from actors.models import load_prompt
from deepprune.traces import Trace
from miniature import CHECKPOINT
from miniature.build import model_card
from miniature.measure import all_pairs, measure_pruning
from miniature.problems import (
    ALL_DIFFICULTIES,
    MAX_DIFFICULTY,
    SPLITS,
    Chain,
    generate_examples,
    generate_problems,
    slip_rate,
)
from miniature.sample import Sampled
from training.config import TrainConfig, load

MODELS = Path(__file__).parents[2] / "miniature" / "models"
WORDS = {"wait", "so", "then", "since", "thus", "first", "next", "hence", "therefore", "check"}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(MODELS / "reasoner")


def expression(question: str) -> str:
    return question[re.search(r"\d", question).start() : question.index("modulo")].strip(" ,")


def test_a_seed_always_gives_the_same_problems():
    assert generate_problems(7, 20) == generate_problems(7, 20)
    assert generate_problems(7, 20) != generate_problems(8, 20)
    assert generate_examples(7, 20) == generate_examples(7, 20)


def test_problem_ids_are_unique_and_name_the_benchmark():
    problems = [p for split in SPLITS for p in generate_problems(1, 50, split=split)]
    assert len({p.problem_id for p in problems}) == len(problems)
    assert all(p.problem_id.startswith("miniature/") for p in problems)


def test_splits_never_share_a_problem():
    texts = {
        split: {
            expression(p.text) for s in range(3) for p in generate_problems(s, 300, split=split)
        }
        for split in SPLITS
    }
    texts["train"] |= {expression(e.problem.text) for e in generate_examples(0, 3000)}
    for a, b in (("train", "judge"), ("train", "demo"), ("judge", "demo")):
        assert not texts[a] & texts[b]


def test_a_problem_belongs_to_one_split_however_it_is_asked():
    chain = Chain(((7, 8), (3, 4), (5, 6, 7)), (3, -2))
    assert chain.expression == "7 × 8 + 3 × 4 + 5 × 6 × 7 + 3 - 2"
    assert chain.split in SPLITS
    assert chain.answer == (56 + 12 + 210 + 1) % 10


@pytest.mark.parametrize("difficulty", [*ALL_DIFFICULTIES, ALL_DIFFICULTIES])
def test_the_reference_is_the_value_of_the_question(difficulty):
    for problem in generate_problems(3, 50, difficulty):
        formula = ast.parse(expression(problem.text).replace("×", "*"), mode="eval")
        assert str(eval(compile(formula, "question", "eval")) % 10) == problem.reference


def test_every_solution_ends_in_the_reference_and_reasons_in_words():
    seen = set()
    for example in generate_examples(2, 500):
        assert example.solution.endswith(f"\\boxed{{{example.problem.reference}}}.")
        assert example.solution.count("\\boxed") == 1
        seen |= set(re.findall(r"[a-z]+", example.solution.lower()))
    assert seen >= WORDS


def test_a_careless_author_slips_where_the_rate_says():
    examples = generate_examples(6, 300, careless=True)
    wrong = [f"\\boxed{{{e.problem.reference}}}" not in e.solution for e in examples]
    assert 0.15 < sum(wrong) / len(wrong) < 0.5
    easy = generate_examples(6, 100, difficulty=0, careless=True)
    assert all(f"\\boxed{{{e.problem.reference}}}" in e.solution for e in easy)
    assert slip_rate((9, 9, 9)) == 0 < slip_rate((2, 3, 8, 9)) < slip_rate((9, 8, 4, 9))


def test_an_impossible_difficulty_is_refused():
    with pytest.raises(ValueError, match=str(MAX_DIFFICULTY)):
        generate_problems(0, 1, MAX_DIFFICULTY + 1)


def test_solutions_fit_the_context(tokenizer):
    for example in generate_examples(4, 300):
        assert 110 <= len(tokenizer.encode(example.solution)) <= 240


@given(st.text())
def test_any_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


def test_digits_are_single_tokens(tokenizer):
    for digit in range(10):
        assert len(tokenizer.encode(str(digit))) == len(tokenizer.encode(f" {digit}")) == 1
    assert len(tokenizer.encode("1234")) == 4


def test_the_chat_template_makes_the_prompt(tokenizer):
    message = [{"role": "user", "content": "What is 2 × 3 modulo 10?"}]
    prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|bos|><|user|>What is 2 × 3 modulo 10?<|assistant|>"


def test_the_judge_can_be_asked_from_its_folder():
    prompt = load_prompt(str(MODELS / "judge"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / "judge")
    for word in (prompt.same_token, prompt.different_token):
        assert len(tokenizer.encode(word, add_special_tokens=False)) == 1
    assert prompt.template.index("{first}") < prompt.template.index("{second}")
    assert prompt.tau is not None
    trained = load(TrainConfig, "miniature").prompt
    assert (prompt.template, prompt.checkpoint) == (trained.template, CHECKPOINT)


def test_the_encoder_knows_itself():
    settings = EncoderSettings.load(MODELS / "encoder")
    assert settings.tau is not None and settings.checkpoint == CHECKPOINT
    assert settings.auroc is not None and settings.auroc > 0.85


def test_prefixes_encode_back_to_the_tokens_they_were_cut_from(tokenizer):
    rng = random.Random(0)
    for example in generate_examples(5, 50):
        ids = tokenizer.encode(example.solution)[: rng.randint(1, 100)]
        assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_pruning_is_measured_although_a_trace_gave_no_answer(tokenizer):
    (example,) = generate_examples(5, 1)
    ids = tokenizer.encode(example.solution)
    traces = [
        Trace(i, example.solution, len(ids), "stop", a) for i, a in enumerate(("7", "7", None))
    ]
    sampled = [Sampled(example.problem, traces, [ids] * 3)]
    pairs = all_pairs(sampled, tokenizer, unanswered=True)
    assert (len(pairs), pairs.same.sum()) == (3, 1)
    assert len(all_pairs(sampled, tokenizer)) == 1
    figures = measure_pruning(sampled, pairs, np.full(3, 0.9), tau=0.5)
    assert figures["all_launched"] == 3


def test_weights_are_small_enough_for_git():
    sizes = [path.stat().st_size for path in MODELS.glob("*/model.safetensors")]
    assert len(sizes) == 3
    assert sum(sizes) < 16e6


def test_cards_are_generated_from_the_metrics():
    metrics = json.loads((MODELS / "metrics.json").read_text())
    for name in ("reasoner", "judge", "encoder"):
        assert (MODELS / name / "README.md").read_text() == model_card(name, metrics)


def test_cards_quote_the_metrics():
    metrics = json.loads((MODELS / "metrics.json").read_text())
    for name, figure in (
        ("reasoner", "single_accuracy"),
        ("judge", "auroc"),
        ("encoder", "auroc_within"),
    ):
        card = (MODELS / name / "README.md").read_text()
        assert "license: apache-2.0" in card
        assert f"{metrics[name][figure]:.3f}" in card
    for name in ("judge", "encoder"):
        settings = json.loads((MODELS / name / f"{name}.json").read_text())
        assert metrics[name]["tau"] == pytest.approx(settings["tau"], abs=1e-4)
