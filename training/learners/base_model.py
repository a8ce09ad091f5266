"""The base language model of a judge in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from actors.language_model import load_language_model
from deepprune.errors import UserError

if TYPE_CHECKING:
    from training.config import LoraConfig, TrainConfig

Module = TypeVar("Module", bound=nn.Module)


def base_model(config: TrainConfig, dtype: torch.dtype = torch.float32) -> Any:
    """The configured language model, wrapped with LoRA where the configuration asks for it.

    Raises:
        UserError: there is no such model, or peft is asked for and not installed.
    """
    language_model = load_language_model(
        config.model, dtype=dtype, gradient_checkpointing=config.gradient_checkpointing
    )
    return language_model if config.lora is None else with_lora(language_model, config.lora)


def with_lora(language_model: Any, config: LoraConfig) -> Any:
    """Wrap with LoRA; only the adapters are trainable.

    Raises:
        UserError: peft is not installed.
    """
    try:
        from peft import LoraConfig as PeftConfig
        from peft import get_peft_model
    except ImportError:
        raise UserError("a lora section needs the package peft: pip install peft") from None
    return get_peft_model(
        language_model,
        PeftConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=config.targets,
            task_type="CAUSAL_LM",
        ),
    )


def with_weights(
    make: Callable[[Any], Module], weights: Mapping[str, Tensor], config: TrainConfig
) -> Module:
    """Build a module with `make` from the base model, on the CPU, and load its `weights`."""
    module = make(base_model(config, next(iter(weights.values())).dtype))
    module.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()})
    return module


def save_language_model(language_model: Any, tokenizer: Any, folder: Any) -> None:
    """Write a Hugging Face folder, with LoRA adapters merged."""
    if hasattr(language_model, "merge_and_unload"):
        language_model = language_model.merge_and_unload()
    language_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
