"""Stand-in tokenizers with the layouts of real models, trained on a few lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = [
    "Let ∠ABC = 60°, so x² + y² ≤ 4 and the answer is \\boxed{42}. Wait, therefore 6 × 7 = 42.\n\n"
    "Hmm, let me check: 答案是四十二。 naïve café 🙂 user assistant analysis final"
] * 20
HARMONY = ("<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>")
DEEPSEEK_TEMPLATE = (
    "{{bos_token}}{% for message in messages %}<｜User｜>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
HARMONY_TEMPLATE = (
    "<|start|>system<|message|>Current date: {{ strftime_now('%Y-%m-%d') }}\n\n"
    "Reasoning: {{ reasoning_effort | default('medium') }}<|end|>{% for message in messages %}"
    "<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message.role }}\n{{ message.content }}"
    "<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
MODEL = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "dtype": "float32",
    "eos_token_id": 1000,
}
"""A model of any weights, for engines that load none."""


def byte_level(folder: Path, named: str, special: tuple[str, ...], **config: object) -> Path:
    """A byte-level vocabulary whose configuration names the class `named`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _saved(tokenizer, folder, named, special, config)


def metaspace(
    folder: Path,
    special: tuple[str, ...],
    prepend: Literal["always", "never"] = "always",
    **config: object,
) -> Path:
    """A vocabulary of words with byte fallback, as sentencepiece models have."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(0x21, 0x7F))]
    vocabulary = {piece: token_id for token_id, piece in enumerate([*pieces, "▁", "▁t", "▁th"])}
    merges = [("▁", "t"), ("▁t", "h")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _saved(tokenizer, folder, "PreTrainedTokenizerFast", special, config)


@dataclass(frozen=True)
class Standin:
    """A tokenizer as a model has it; `opening` is how the model begins to think."""

    make: Callable[[Path], Path]
    opening: str


STANDINS = {
    "DeepSeek-R1-0528-Qwen3-8B": Standin(
        lambda folder: byte_level(
            folder,
            "LlamaTokenizerFast",
            ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
            bos_token="<｜begin▁of▁sentence｜>",
            chat_template=DEEPSEEK_TEMPLATE,
            legacy=True,
        ),
        "<think>\nHmm, let ∠A",
    ),
    "Qwen3-32B": Standin(
        lambda folder: byte_level(
            folder, "Qwen2Tokenizer", ("<|im_start|>", "<|im_end|>"), chat_template=QWEN_TEMPLATE
        ),
        "<think>\nOkay, so 答案",
    ),
    "gpt-oss-20b": Standin(
        lambda folder: byte_level(
            folder, "PreTrainedTokenizerFast", HARMONY, chat_template=HARMONY_TEMPLATE
        ),
        "<|channel|>analysis<|message|>We need x² ≤ 4",
    ),
    "Gemma-like": Standin(
        lambda folder: metaspace(
            folder,
            ("<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"),
            prepend="never",
            bos_token="<bos>",
            chat_template=GEMMA_TEMPLATE,
        ),
        "<|channel>thought\nThe user asks, naïve",
    ),
}


def _saved(
    tokenizer: Tokenizer,
    folder: Path,
    named: str,
    special: tuple[str, ...],
    config: dict[str, object],
) -> Path:
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<think>", "</think>")])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": named, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    return folder
