"""Extraction, clients and judges take a trace's thought and answer from the same split."""

from __future__ import annotations

import pytest

from actors.driver.live_trace import LiveTrace
from actors.judges.pair_prompt import PairPrompt
from actors.judges.prefix_encoder import token_ids
from actors.models import PLAIN_QUESTION
from actors.tokenizer import load_tokenizer
from deepprune.answers import extract_answer
from deepprune.answers.reply import judged_text, spoken_parts
from deepprune.prefix_facts import read_statements
from tests.support.standin_models import HARMONY, byte_level
from tests.unit.test_completion import solution

THOUGHT, ANSWER = "We get 12, or 13?", "So it is \\boxed{42}."
FORMATS = {
    "DeepSeek-R1": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}",
    "Qwen3, begun in the prompt": f"{THOUGHT}\n</think>\n\n{ANSWER}<|im_end|>",
    "GPT-OSS": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{ANSWER}<|return|>",
    "Gemma": f"<|channel>thought\n{THOUGHT}\n<channel|>{ANSWER}<turn|>",
    "Mistral": f"[THINK]{THOUGHT}[/THINK]{ANSWER}",
}


@pytest.fixture(params=FORMATS)
def text(request) -> str:
    return FORMATS[request.param]


def test_all_of_them_read_the_same_parts(text):
    assert extract_answer(text) == "42"
    spoken = spoken_parts(text)
    assert (spoken.thought, spoken.answer) == (THOUGHT, ANSWER)
    found = solution()
    found.traces[1] = LiveTrace(0, text=text, finish_reason="stop")
    message = found.completion.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, ANSWER)
    assert judged_text(text) == f"{THOUGHT}\n\n{ANSWER}"
    facts = read_statements(text)
    assert facts.thought == "13"
    assert THOUGHT in text[: facts.thought_end] and ANSWER in text[facts.thought_end :]


def test_a_prefix_is_judged_without_marks():
    assert judged_text(f"<think>\n{THOUGHT}") == THOUGHT
    assert judged_text(f"<|channel|>analysis<|message|>{THOUGHT}") == THOUGHT
    assert judged_text(f" {THOUGHT} ") == f" {THOUGHT} ", "a text without marks stays as it is"


def test_no_judge_reads_marks_as_tokens_of_its_own(text, tmp_path):
    special = ("<bos>", "<turn|>", "<|im_end|>", *HARMONY)
    tokenizer = load_tokenizer(str(byte_level(tmp_path, "PreTrainedTokenizerFast", special)))
    question = PLAIN_QUESTION.model_copy(
        update={"chat": False, "same_token": "a", "different_token": "b"}
    )
    pair = PairPrompt(question, tokenizer, 4096).token_ids("Why?", text, text)
    single = token_ids(tokenizer, "Why?", text, 4096).tolist()
    added = set(tokenizer.get_added_vocab().values())
    assert not added & {*pair, *single}
    assert tokenizer.decode(single).endswith(f"{THOUGHT}\n\n{ANSWER}")


def test_a_thought_that_ended_is_known_where_no_answer_has_begun():
    assert read_statements(f"<think>{THOUGHT}</think>").thought == "13"
    assert read_statements(f"<think>{THOUGHT}").thought_end is None
