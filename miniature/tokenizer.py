"""A byte-level BPE tokenizer of a few hundred tokens, shared by the reasoner and the judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from miniature.problems import generate_examples

VOCAB_SIZE = 576
CONTEXT = 512
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
FIRST, SECOND, VERDICT = "<|first|>", "<|second|>", "<|verdict|>"
SAME_TOKEN, DIFFERENT_TOKEN = "yes", "no"

# One user message becomes the reasoner's prompt; earlier turns are kept but were never trained on.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# A digit is one token, with the space before it if there is one; words carry theirs as well.
_PIECES = r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"


def train_tokenizer(seed: int = 0, num_examples: int = 2000) -> PreTrainedTokenizerFast:
    """Learn the merges from generated solutions; any other text falls back to bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, BOS, EOS, USER, ASSISTANT, FIRST, SECOND, VERDICT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_corpus(seed, num_examples), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT, FIRST, SECOND, VERDICT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a folder."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def prompt_of(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """The reasoner's prompt for a question, by the tokenizer's own chat template."""
    messages = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _corpus(seed: int, num_examples: int) -> Iterator[str]:
    for example in generate_examples(seed, num_examples):
        yield example.problem.text
        yield example.solution
    yield from _often(f" {digit}" for digit in range(10))
    yield from _often((SAME_TOKEN, DIFFERENT_TOKEN))


def _often(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield from [word] * 1000
