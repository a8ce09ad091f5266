"""What each worker of a training does, from loading the model to the last checkpoint.

A checkpoint holds `state/`, from which training goes on, and `judge/`, a folder that can be served:
so whatever happens later, the last good judge is there.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actors.language_model import load_language_model, load_tokenizer
from deepprune.config import JudgePrompt
from deepprune.errors import UserError
from training.batches import PairEncoder
from training.config import TrainConfig
from training.data import load_pairs
from training.engines import DeepSpeedEngine, Engine, PlainEngine
from training.judge import JudgeModel, prompt_for, save_judge, trained_model, with_lora
from training.trainer import Progress, Trainer

STATE, JUDGE = "state", "judge"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told."""

    config: TrainConfig
    pairs: Path
    checkpoint: str
    """Where the prefixes were cut."""
    monitor: Any
    """Handle of the `Monitor` actor."""


def train_worker(given: dict[str, Assignment]) -> None:
    """Train; runs in a worker of Ray Train.

    Raises:
        UserError: something in the configuration or data cannot work; the monitor knows as well.
    """
    import ray

    work = given["assignment"]
    if ray.get(work.monitor.failure.remote()):
        return  # taken up again after a mistake that would only be made again
    try:
        _train(work)
    except UserError as error:
        ray.get(work.monitor.failed.remote(str(error)))
        raise


def _train(work: Assignment) -> None:
    from ray import train
    from ray.train.torch import get_device

    config = work.config
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(config.workers.cpus)))
    torch.manual_seed(config.seed)
    prompt, tokenizer = prompt_for(config), load_tokenizer(config.model)
    encoder = PairEncoder(prompt, tokenizer, config.max_tokens)
    bf16 = config.precision == "bf16" and config.deepspeed is not None
    language_model = load_language_model(
        config.model,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        gradient_checkpointing=config.gradient_checkpointing,
    )
    if config.lora is not None:
        language_model = with_lora(language_model, config.lora)
    make_engine = PlainEngine if config.deepspeed is None else DeepSpeedEngine
    module = JudgeModel(language_model, encoder.answer_ids)
    engine: Engine = make_engine(module, config, device)
    trainer = Trainer(
        engine,
        encoder,
        load_pairs(work.pairs, ["train"], work.checkpoint),
        load_pairs(work.pairs, ["validation"], work.checkpoint),
        config,
        tokenizer.pad_token_id or 0,
    )
    if trainer.num_cut and engine.rank == 0:
        work.monitor.note.remote(
            f"{trainer.num_cut:,} prefixes, counted once for each pair, are longer than max_tokens "
            f"{config.max_tokens} allows and lose their middle"
        )
    start = 0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = engine.load(Path(folder) / STATE)
    trainer.run(RayReporter(work, module, tokenizer, prompt), start)


class RayReporter:
    """Tells the monitor about steps, and Ray Train about checkpoints."""

    def __init__(
        self, work: Assignment, module: JudgeModel, tokenizer: Any, prompt: JudgePrompt
    ) -> None:
        self._work, self._module, self._tokenizer = work, module, tokenizer
        self._prompt = prompt

    def progress(self, progress: Progress) -> None:
        """Send a step on its way."""
        from ray import train

        if train.get_context().get_world_rank() == 0:
            self._work.monitor.progress.remote(progress)

    def checkpoint(self, engine: Engine, progress: Progress) -> None:
        """Save state and judge, and wait until they are in the storage."""
        from ray import train

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            engine.save(folder / STATE, progress.step)
            weights = engine.weights()
            if weights is not None:
                model = trained_model(self._module, weights, self._work.config)
                config, checkpoint = self._work.config, self._work.checkpoint
                prompt = known(self._prompt, progress, checkpoint, config.max_tokens)
                save_judge(model, self._tokenizer, prompt, folder / JUDGE)
            train.report(
                {"step": progress.step, "score": progress.score},
                checkpoint=train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"step-{progress.step:07}",
            )


def known(prompt: JudgePrompt, progress: Progress, checkpoint: str, max_tokens: int) -> JudgePrompt:
    """How a judge is asked, with what it was trained on and what its last evaluation says of it."""

    def inside(value: float | None, low: float, high: float) -> float | None:
        return None if value is None or value != value else min(high, max(low, round(value, 4)))

    return prompt.model_copy(
        update={
            "checkpoint": checkpoint,
            "max_tokens": max_tokens,
            "slope": round(progress.slope or 1.0, 4),
            "shift": round(progress.shift or 0.0, 4),
            "tau": inside(progress.tau, 0.001, 0.999),
            "base_rate": inside(progress.base_rate, 0.001, 0.999),
            "auroc": inside(progress.mean_auroc, 0.5, 1.0),
        }
    )
