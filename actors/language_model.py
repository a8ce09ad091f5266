"""Load language models outside of an engine."""

from __future__ import annotations

from typing import Any

import torch

from actors.models import resolve_model
from deepprune.errors import UserError, reason


def load_language_model(
    name: str, *, dtype: torch.dtype = torch.float32, gradient_checkpointing: bool = False
) -> Any:
    """Load a causal language model.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(resolve_model(name), dtype=dtype)
    except (OSError, ValueError) as error:
        raise UserError(f"model {name!r} cannot be loaded: {reason(error)}") from None
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def without_adapters(model: Any) -> Any:
    """Return the language model without its peft wrapper, if it has one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
