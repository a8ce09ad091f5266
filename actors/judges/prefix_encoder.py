"""The encoder judge's model: each prefix is read once, and becomes a vector.

Log-odds of P(same) are a small network of how far two vectors are apart, and what they share, in
each dimension: in most dimensions all traces of a problem are alike, so an inner product would tell
problems apart and hardly traces. So n traces cost n forward passes, where the pairwise judge takes
up to n²/2 of twice the length. This is what is trained, and what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from actors.encoder_config import HEAD_FILE, EncoderSettings
from actors.judges.padding import Prompt, padded, scoring_batches, tokens_at_once
from actors.language_model import load_language_model, without_adapters
from actors.tokenizer import load_tokenizer
from deepprune.answers.reply import judged_text

TEMPLATE = "Problem:\n{problem}\n\nAttempt:\n{prefix}"
DIMENSIONS = 128
HIDDEN = 64


class PrefixEncoder(nn.Module):
    """A language model's last hidden state, where it has read all of a prefix, projected."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = Head(language_model.config.hidden_size)

    def forward(self, tokens: Tensor, last: Tensor, pairs: Tensor | None = None) -> Tensor:
        """(prefixes, DIMENSIONS): vectors of prefixes (prefixes, length) that end at `last`.

        With `pairs`, (2, pairs), the log-odds of P(same) of these prefixes instead, (pairs,).
        """
        model = without_adapters(self.language_model).get_decoder()
        hidden = model(input_ids=tokens, use_cache=False).last_hidden_state
        vectors: Tensor = self.head(hidden[torch.arange(len(last), device=last.device), last])
        return vectors if pairs is None else self.head.compare(vectors[pairs[0]], vectors[pairs[1]])


class Head(nn.Module):
    """From states (prefixes, width) to vectors, and from two vectors to log-odds; in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = _Float32Linear(width, DIMENSIONS)
        self.hidden = _Float32Linear(2 * DIMENSIONS, HIDDEN)
        self.verdict = _Float32Linear(HIDDEN, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(prefixes, DIMENSIONS)."""
        states = nn.functional.layer_norm(states.float(), states.shape[-1:])
        vectors: Tensor = self.vector(states)
        return vectors

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """(pairs,): log-odds of P(same) of vectors (pairs, DIMENSIONS); either order gives one."""
        both = torch.cat([(first - second).abs(), first * second], dim=-1)
        log_odds: Tensor = self.verdict(nn.functional.gelu(self.hidden(both)))[..., 0]
        return log_odds


class _Float32Linear(nn.Linear):
    """Computes in float32, also by weights in bf16: vectors of a problem differ by little."""

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.linear(values, self.weight.float(), self.bias.float())


class SavedEncoder:
    """An encoder judge from its folder.

    Raises:
        UserError: the folder is not whole.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.settings = EncoderSettings.load(folder)
        self.device = device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        language_model = load_language_model(str(folder), dtype=dtype)
        self._module = PrefixEncoder(language_model)
        self._module.head.load_state_dict(load_file(folder / HEAD_FILE))
        self._module.eval().to(device)
        self._tokenizer = load_tokenizer(str(folder))

    def token_ids(self, problem: str, prefix: str) -> Prompt:
        """The tokens of a prefix behind its problem."""
        return token_ids(self._tokenizer, problem, prefix, self.settings.max_tokens)

    def encode(self, prompts: Sequence[Prompt]) -> Tensor:
        """(prompts, DIMENSIONS): a vector of each."""
        return encoded(self._module, prompts, self.device)

    def log_odds(self, first: Tensor, second: Tensor) -> npt.NDArray[np.float64]:
        """(pairs,): calibrated log-odds of P(same) of vectors (pairs, DIMENSIONS)."""
        with torch.no_grad():
            z = self._module.head.compare(first, second).double().cpu().numpy()
        calibrated: npt.NDArray[np.float64] = self.settings.slope * z + self.settings.shift
        return calibrated


def token_ids(tokenizer: Any, problem: str, prefix: str, max_tokens: int) -> Prompt:
    """The tokens of a prefix behind its problem; of longer ones the beginning is dropped."""
    text = TEMPLATE.format(problem=problem, prefix=judged_text(prefix))
    return np.array(tokenizer.encode(text)[-max_tokens:], dtype=np.int32)


@torch.no_grad()
def encoded(
    forward: Callable[[Tensor, Tensor], Tensor],
    prompts: Sequence[Prompt],
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
) -> Tensor:
    """(prompts, DIMENSIONS): a vector of each, in batches of like length.

    Several workers share each batch, so that all of them make the same number of calls, as ZeRO-3
    needs. Each returns zeros for the prompts of others: the sum over the workers is the result.
    """
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    vectors = torch.zeros(len(prompts), DIMENSIONS, device=device)
    for index in scoring_batches(lengths, tokens_at_once(device) * world):
        mine = index[rank::world]
        tokens, last = padded([prompts[i] for i in (mine if len(mine) else index[:1])])
        vectors[mine] = forward(tokens.to(device), last.to(device))[: len(mine)]
    return vectors
