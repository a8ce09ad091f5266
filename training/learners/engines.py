"""Optimizer steps: plain PyTorch in one process, or DeepSpeed over many.

Both keep float32 master weights beside bf16 ones, because bf16 rounds a small update away. Buffers
keep their precision: with rotary frequencies in bf16 a token at position 1,000 is rotated up to a
radian too far, and serving has them in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from training.config import TrainConfig

STATE_FILE = "state.pt"
NEW_LAYERS = "head."
"""Prefix of parameters that start from random numbers and get a higher learning rate."""
NEW_LAYERS_RATE = 2e-3
"""Their learning rate at the least, where the pretrained weights' is at its peak."""


class PlainEngine:
    """One process and AdamW. Every worker calls each method, on its share of each batch."""

    def __init__(self, module: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.device, self.rank, self.world = device, 0, 1
        self.module = module.to(device)
        self._config = config
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._live = [p for _, p in named]
        self._master = [p.detach().clone().float().requires_grad_() for p in self._live]
        if config.precision == "bf16":
            with _buffers_kept(module):
                module.to(torch.bfloat16)
        self._optimizer = torch.optim.AdamW(
            _groups([name for name, _ in named], self._master),
            lr=0.0,
            betas=(0.9, 0.95),
            weight_decay=config.weight_decay,
        )

    def forward(self, *inputs: Tensor) -> Any:
        """The module's outputs, such as a judge's logits, (batch, 2)."""
        return self.module(*inputs)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add up gradients of one of `accumulation` batches; the last one completes an update."""
        (loss / self._config.accumulation).backward()  # type: ignore[no-untyped-call]
        for live, master in zip(self._live, self._master, strict=True):
            if live.grad is not None:
                grad = live.grad.float()
                master.grad = grad if master.grad is None else master.grad.add_(grad)
                live.grad = None

    def step(self, learning_rate: float) -> float:
        """Clip, update, and return the gradient's norm."""
        norm = nn.utils.clip_grad_norm_(self._master, self._config.max_grad_norm)
        _set_rates(self._optimizer.param_groups, self._config, learning_rate)
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            for live, master in zip(self._live, self._master, strict=True):
                live.copy_(master)
        return float(norm)

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all workers."""
        return values

    def save(self, folder: Path, step: int) -> None:
        """Write the state to resume after `step`."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"step": step, "weights": self._master, "optimiser": self._optimizer.state_dict()}
        torch.save(state, folder / STATE_FILE)

    def load(self, folder: Path) -> int:
        """Read them back; returns the step."""
        state = torch.load(folder / STATE_FILE, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for live, master, saved in zip(self._live, self._master, state["weights"], strict=True):
                master.copy_(saved)
                live.copy_(saved)
        self._optimizer.load_state_dict(state["optimiser"])
        return int(state["step"])

    def weights(self) -> dict[str, Tensor] | None:
        """The module's whole weights on the first worker, None on others."""
        return {name: tensor.detach() for name, tensor in self.module.state_dict().items()}


class DeepSpeedEngine:
    """Data parallel with ZeRO 0 to 3; `torch.distributed` has to be up."""

    def __init__(self, module: nn.Module, config: TrainConfig, device: torch.device) -> None:
        import deepspeed

        if device.type == "cpu":
            # Or each worker would first compile shared-memory collectives that gloo does without.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.device = device
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._config = config
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        groups = _groups([name for name, _ in named], [p for _, p in named])
        with _buffers_kept(module):
            self._engine, *_ = deepspeed.initialize(
                model=module, model_parameters=groups, config=deepspeed_config(config)
            )
        self.module = self._engine

    def forward(self, *inputs: Tensor) -> Any:
        """The module's outputs."""
        return self._engine(*inputs)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add up gradients."""
        self._engine.backward(loss)
        if not is_last:
            self._engine.step()  # at a boundary this updates, elsewhere it only counts

    def step(self, learning_rate: float) -> float:
        """Clip, update, and return the gradient's norm."""
        _set_rates(self._engine.optimizer.param_groups, self._config, learning_rate)
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all workers."""
        values = values.to(self.device)
        torch.distributed.all_reduce(values)
        return values

    def save(self, folder: Path, step: int) -> None:
        """Write weights and optimizer."""
        self._engine.save_checkpoint(str(folder), tag="state", client_state={"step": step})

    def load(self, folder: Path) -> int:
        """Read them back; returns the step."""
        _, client_state = self._engine.load_checkpoint(str(folder), tag="state")
        return int(client_state["step"])

    def weights(self) -> dict[str, Tensor] | None:
        """The whole weights, on the first worker."""
        if self._engine.zero_optimization_stage() == 3:
            whole = self._engine._zero3_consolidated_16bit_state_dict()
        else:
            whole = self._engine.module.state_dict()
        return whole if self.rank == 0 else None


Engine = PlainEngine | DeepSpeedEngine


def _groups(names: Sequence[str], parameters: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The optimizer's groups: pretrained weights, and new layers where there are any."""
    groups: dict[bool, list[Tensor]] = {False: [], True: []}
    for name, parameter in zip(names, parameters, strict=True):
        groups[name.startswith(NEW_LAYERS)].append(parameter)
    return [{"params": params, "is_new": new} for new, params in groups.items() if params]


def _set_rates(groups: Sequence[dict[str, Any]], config: TrainConfig, learning_rate: float) -> None:
    factor = max(1.0, NEW_LAYERS_RATE / config.learning_rate)
    for group in groups:
        group["lr"] = learning_rate * (factor if group["is_new"] else 1)


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """While the module's precision changes, its buffers keep theirs; they move with the module."""
    kept = {name: (buffer.dtype, buffer.clone()) for name, buffer in module.named_buffers()}
    yield
    for name, buffer in list(module.named_buffers()):
        dtype, values = kept[name]
        if buffer.dtype != dtype:
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, values.to(buffer.device))


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """The dictionary that DeepSpeed reads.

    The learning rate is ours to set, step by step; PyTorch's own AdamW needs no compiler.
    """
    assert config.deepspeed is not None
    zero: dict[str, Any] = {"stage": config.deepspeed.zero_stage}
    if config.deepspeed.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if zero["stage"] == 3:
            zero["offload_param"] = {"device": "cpu"}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    optimizer = {
        "lr": config.learning_rate,
        "betas": [0.9, 0.95],
        "weight_decay": config.weight_decay,
        "torch_adam": True,
    }
    return {
        "train_batch_size": config.pairs_per_step,
        "train_micro_batch_size_per_gpu": config.pairs_per_batch,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": config.precision == "bf16"},
        "optimizer": {"type": "AdamW", "params": optimizer},
    }
