from __future__ import annotations

import asyncio
import datetime
import json
import random
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live_trace import LiveTrace
from actors.generators.detokenizer import Decoder, Detokenizer
from actors.generators.trace_work import TraceWork
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from actors.tokenizer import load_tokenizer, prompt_token_ids
from deepprune.answers.reply import split_reply
from deepprune.config import SamplingConfig, VllmGeneratorConfig
from deepprune.errors import UserError
from deepprune.traces import Message, Problem
from tests.support.standin_models import DEEPSEEK_TEMPLATE, HARMONY, byte_level, metaspace

TEXT = (
    "<think>\nLet ∠ABC = 60°: naïve 🙂🙂 x² ≤ 4. Wait, 答案是四十二。\n</think>"
    "\n\n\\boxed{7} Observation: no"
)
STOP = "Observation:"
UNICODE = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("standins")


@pytest.fixture(scope="module", params=["byte-level", "byte fallback"])
def tokenizer(request, folder):
    if request.param == "byte-level":
        return load_tokenizer(str(byte_level(folder / "qwen", "Qwen2Tokenizer", ("<|im_end|>",))))
    return load_tokenizer(str(metaspace(folder / "spm", ("</s>",))))


def encoded(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


class TestTokenizer:
    """A hub configuration that names `LlamaTokenizerFast` over a byte-level vocabulary."""

    @pytest.fixture(scope="class")
    def deepseek(self, folder):
        special = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
        config = {
            "bos_token": special[0],
            "chat_template": DEEPSEEK_TEMPLATE,
            "add_bos_token": True,
            "legacy": True,
        }
        return byte_level(folder / "deepseek", "LlamaTokenizerFast", special, **config)

    def test_a_wrong_class_in_its_configuration_changes_nothing(self, deepseek):
        tokenizer = load_tokenizer(str(deepseek))
        question = "What is 6 × 7?\n\nPut it in \\boxed{}."
        ids = prompt_token_ids(tokenizer, [Message("user", question)])
        assert (
            tokenizer.decode(ids) == f"<｜begin▁of▁sentence｜><｜User｜>{question}<｜Assistant｜>"
        )
        assert Detokenizer(tokenizer).decoder(ids).feed(encoded(tokenizer, TEXT)) == TEXT

    def test_the_template_gets_its_arguments_and_a_fixed_date(self, deepseek):
        tokenizer = load_tokenizer(str(deepseek))
        tokenizer.chat_template = (
            "{{ strftime_now('%Y-%m-%d') }} {{ reasoning_effort | default('medium') }}"
        )
        chat, date = [Message("user", "Why?")], datetime.date(2026, 1, 2)
        ids = prompt_token_ids(tokenizer, chat, {"reasoning_effort": "high"}, date)
        assert tokenizer.decode(ids) == "2026-01-02 high"
        today = tokenizer.decode(prompt_token_ids(tokenizer, chat))
        assert today.endswith(" medium") and not today.startswith("2026-01-02")

    def test_a_tokenizer_that_loses_text_is_refused(self, deepseek, tmp_path):
        broken = tmp_path / "broken"
        shutil.copytree(deepseek, broken)
        described = json.loads((broken / "tokenizer.json").read_text(encoding="utf-8"))
        described["decoder"] = {"type": "Fuse"}
        (broken / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
        with pytest.raises(UserError, match="does not give back what it encodes"):
            load_tokenizer(str(broken))


@given(text=UNICODE, cuts=st.lists(st.integers(0, 400), max_size=6), other=UNICODE)
def test_a_text_rejoins_wherever_it_is_cut(tokenizer, text, cuts, other):
    """Each piece has a decoder of its own, as each request of a resumed trace has."""
    detokenizer = Detokenizer(tokenizer)
    prompt, ids = encoded(tokenizer, f"a{other}a"), encoded(tokenizer, text)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    pieces = [
        detokenizer.decoder([*prompt, *ids[:start]]).feed(ids[start:stop], final=stop == len(ids))
        for start, stop in pairwise(bounds)
        if start < stop or stop == len(ids)
    ]
    whole = detokenizer.decoder(prompt).feed(ids, final=True)
    assert "".join(pieces) == whole
    assert whole.strip() == text.strip()


@given(ids=st.lists(st.integers(0, 399), max_size=80), cuts=st.lists(st.integers(0, 80)))
def test_tokens_that_are_no_text_are_cut_alike(folder, ids, cuts):
    """Random tokens of a byte-level vocabulary, most of them no valid UTF-8."""
    tokenizer = load_tokenizer(str(byte_level(folder / "q", "Qwen2Tokenizer", ("<|im_end|>",))))
    detokenizer = Detokenizer(tokenizer)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    pieces = [
        detokenizer.decoder(ids[:start]).feed(ids[start:stop]) for start, stop in pairwise(bounds)
    ]
    text = "".join(pieces)
    whole = detokenizer.decoder([]).feed(ids, final=True)
    assert whole.startswith(text)
    assert set(whole[len(text) :]) <= {"�"}
    assert whole == tokenizer.decode(ids, skip_special_tokens=True)


def test_an_unfinished_character_is_said_at_the_end_only(tokenizer):
    detokenizer = Detokenizer(tokenizer)
    ids = encoded(tokenizer, "a🙂")[:-1]
    decoder = detokenizer.decoder([])
    assert "�" not in decoder.feed(ids)
    assert "�" in decoder.feed([], final=True)


def test_special_tokens_vanish_but_those_that_part_thought_and_answer(folder):
    tokenizer = load_tokenizer(str(byte_level(folder / "oss", "PreTrainedTokenizerFast", HARMONY)))
    text = (
        "<|channel|>analysis<|message|>so (A)? no<|end|><|start|>assistant<|channel|>final"
        "<|message|>B<|return|>"
    )
    shown = Detokenizer(tokenizer).decoder([]).feed(encoded(tokenizer, text), final=True)
    assert shown == text.removesuffix("<|return|>")
    assert split_reply(shown).content == "B"


async def sent_by(
    request: TraceRequest,
    decoder: Decoder,
    ids: list[int],
    sizes: random.Random,
    ends_by: str = "stop",
    progress_s: float = 0.01,
) -> list[TraceUpdate]:
    """The updates of a request whose engine puts out given tokens, as vLLM does."""
    aborted = asyncio.Event()

    async def generate(params):
        at, left = len(request.prefix_token_ids), params.max_tokens
        finish = None
        while finish is None:
            size = min(sizes.randint(1, 4), left, len(ids) - at)
            finish = ends_by if at + size == len(ids) else "length" if size == left else None
            if aborted.is_set():
                size, finish = 0, "abort"
            at, left = at + size, left - size
            part = SimpleNamespace(
                token_ids=ids[at - size : at], logprobs=None, finish_reason=finish
            )
            yield SimpleNamespace(
                outputs=[part],
                num_cached_tokens=0,
                prompt_token_ids=[1],
                finished=finish is not None,
            )

    config = VllmGeneratorConfig.model_validate(
        {"engine": {"model": "x"}, "progress_s": progress_s}
    )
    work = TraceWork(request, config, decoder, "replica", generate, aborted.set)
    return [update async for update, _ in work.items()]


@given(data=st.data(), stops=st.booleans())
def test_a_trace_is_the_same_text_however_often_it_is_paused(tokenizer, data, stops):
    """Pauses at every kind of token, inside characters and inside a stop text."""
    eos = encoded(tokenizer, "a")[-1:]
    ids = [*encoded(tokenizer, TEXT), *eos]
    sizes = random.Random(data.draw(st.integers(0, 9)))
    sampling = SamplingConfig(max_tokens=10_000, stop=(STOP,) if stops else ())
    live = LiveTrace(seed=1)
    problem = Problem("x/1", "Why?", None)
    detokenizer = Detokenizer(tokenizer)
    pauses = sorted(data.draw(st.sets(st.integers(1, len(ids) - 2), max_size=5)))
    for pause in [*pauses, None]:
        if live.finish_reason is not None:
            break
        wanted = {"checkpoint": f"tokens:{pause}", "pause": True} if pause else {}
        request = live.request("k/0", problem, sampling, **wanted)
        context = [*encoded(tokenizer, "aWhy?"), *request.prefix_token_ids]
        decoder = detokenizer.decoder(context)
        for update in asyncio.run(sent_by(request, decoder, ids, sizes)):
            live.take(update)
    assert live.finish_reason == "stop"
    whole = detokenizer.decoder(encoded(tokenizer, "aWhy?")).feed(ids[:-1], final=True)
    assert live.text == (whole.partition(STOP)[0] if stops else whole)


def test_a_trace_that_fills_the_context_is_not_taken_for_paused(tokenizer):
    ids = encoded(tokenizer, TEXT)
    sampling = SamplingConfig(max_tokens=10_000)
    request = TraceRequest("k/0", "Why?", sampling, 1, checkpoint="tokens:9000", pause=True)
    decoder = Detokenizer(tokenizer).decoder([])
    sent = asyncio.run(sent_by(request, decoder, ids, random.Random(0), ends_by="length"))
    assert sent[-1].finish_reason == "length"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_trace_that_the_engine_ends_by_itself_has_not_finished(tokenizer, reason):
    request = TraceRequest("k/0", "Why?", SamplingConfig(max_tokens=10_000), 1)
    decoder = Detokenizer(tokenizer).decoder([])
    sent = sent_by(request, decoder, encoded(tokenizer, TEXT), random.Random(0), ends_by=reason)
    with pytest.raises(EngineGone, match=f"the engine ended the trace: {reason}"):
        asyncio.run(sent)


@given(data=st.data(), words=st.sampled_from([("wait",), ("naïve",)]))
def test_a_pause_at_a_word_keeps_what_the_engine_had_generated_beyond(tokenizer, data, words):
    ids = [*encoded(tokenizer, TEXT), *encoded(tokenizer, "a")[-1:]]
    sizes = random.Random(data.draw(st.integers(0, 9)))
    sampling, problem, live = (
        SamplingConfig(max_tokens=10_000),
        Problem("x/1", "Why?"),
        LiveTrace(1),
    )
    options = {"checkpoint": "reasoning_words:1", "reasoning_words": words, "pause": True}
    decoder = Detokenizer(tokenizer).decoder([])
    sent = asyncio.run(
        sent_by(live.request("k/0", problem, sampling, **options), decoder, ids, sizes)
    )
    for update in sent:
        live.take(update)
    assert live.finish_reason is None and live.prefix_chars is not None
    assert list(live.token_ids) == ids[: live.num_tokens]
    assert live.prefix.lower().endswith(words[0])
    rest = live.request("k/0", problem, sampling)
    for update in asyncio.run(
        sent_by(rest, Detokenizer(tokenizer).decoder(live.token_ids), ids, sizes)
    ):
        live.take(update)
    assert live.text == Detokenizer(tokenizer).decoder([]).feed(ids[:-1], final=True)
