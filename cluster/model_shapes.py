"""Model sizes that determine decoding speed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepprune.errors import UserError

BYTES_PER_VALUE = 2
"""Bytes per weight and per KV cache value, in 16-bit floats."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder. A token uses `active_params`; a decoding step reads all of `weight_bytes`.

    `cache_layers` counts the layers whose KV cache grows with the text, so not those with a sliding
    window.
    """

    active_params: float
    weight_bytes: float
    cache_layers: int
    kv_heads: int
    head_dim: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache of one token."""
        return 2 * self.cache_layers * self.kv_heads * self.head_dim * BYTES_PER_VALUE


def _dense(params: float, layers: int, kv_heads: int = 8, head_dim: int = 128) -> ModelShape:
    return ModelShape(params, params * BYTES_PER_VALUE, layers, kv_heads, head_dim)


MODEL_SHAPES = {
    # From the config.json and the card of each model.
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": _dense(8.19e9, 36),
    "Qwen/Qwen3-32B": _dense(32.8e9, 64),
    "Qwen/Qwen3-4B-Instruct-2507": _dense(4.02e9, 36),
    # A mixture of experts: 20.9e9 weights, 3.6e9 active per token, 12.8 GiB (MXFP4).
    # A batch uses all experts. Every other of its 24 layers has a sliding window of 128 tokens.
    "openai/gpt-oss-20b": ModelShape(3.6e9, 12.8 * 2**30, 12, 8, 64),
}
"""By hub name."""


def model_shape(model: str) -> ModelShape:
    """Look up a model's shape by its hub name, or read it from a local folder's `config.json`.

    Raises:
        UserError: the model is neither in the table nor a folder of a dense decoder.
    """
    if model in MODEL_SHAPES:
        return MODEL_SHAPES[model]
    file = Path(model) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        known = ", ".join(MODEL_SHAPES)
        raise UserError(
            f"the size of {model!r} is not known: give a folder with its config.json, or one of "
            f"{known}"
        ) from None
    try:
        return _from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is not that of a dense decoder: {error}") from None


def _from_config(config: Mapping[str, Any]) -> ModelShape:
    """Compute the shape of a dense decoder with gated feed-forward layers, like Llama and Qwen."""
    if any("expert" in key for key in config):
        raise ValueError("it is a mixture of experts")
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    feed_forward = 3 * hidden * config["intermediate_size"]
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return _dense(layers * (attention + feed_forward) + embeddings, layers, kv_heads, head_dim)
