"""The training loop's moving parts: optimizers, schedule, padded batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

IGNORE = -100


@dataclass(frozen=True, slots=True)
class Row:
    """One training sequence: what the model reads and, where not IGNORE, what it must predict."""

    tokens: list[int]
    targets: list[int]


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for the rest, one warm-up and cosine decay."""

    def __init__(self, model: nn.Module, lr: float, num_steps: int, warmup: int = 40) -> None:
        """Take over the model's parameters for a run of `num_steps`."""
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n and "head" not in n]
        inside = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in inside]
        self._parameters = [p for _, p in named]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.SequentialLR(
                optimizer,
                [
                    torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warmup),
                    torch.optim.lr_scheduler.CosineAnnealingLR(
                        optimizer, max(1, num_steps - warmup), eta_min=lr * 0.02
                    ),
                ],
                milestones=[warmup],
            )
            for optimizer in self._optimizers
        ]

    def step(self, loss: Tensor) -> None:
        """Back-propagate, clip, update, advance the schedule."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def batches(rows: Sequence[Row], size: int, rng: random.Random) -> Iterator[list[Row]]:
    """Shuffled batches of rows of like length, so that little is padded."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    for start in range(0, len(order), size * 16):
        chunk = sorted(order[start : start + size * 16], key=lambda i: len(rows[i].tokens))
        groups = [chunk[i : i + size] for i in range(0, len(chunk), size)]
        rng.shuffle(groups)
        yield from ([rows[i] for i in group] for group in groups)


def collate(rows: Sequence[Row], pad: int) -> tuple[Tensor, Tensor]:
    """Right-padded tokens and targets; causal attention never sees the padding."""
    width = max(len(row.tokens) for row in rows)
    tokens = [row.tokens + [pad] * (width - len(row.tokens)) for row in rows]
    targets = [row.targets + [IGNORE] * (width - len(row.targets)) for row in rows]
    return torch.tensor(tokens), torch.tensor(targets)


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the targets, each predicted from the position before it."""
    return nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORE
    )
