"""Resolve a model's name: a folder, the miniature, a PyPI package, or a hub; load its prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from actors.encoder_config import EncoderSettings
from deepprune.config import EncoderJudgeConfig, FeatureJudgeConfig, JudgePrompt, VllmJudgeConfig
from deepprune.errors import UserError, reason
from deepprune.section import is_path

if TYPE_CHECKING:
    from deepprune.feature_judge import FeatureJudge

JUDGE_FILE = "judge.json"
MINIATURE = Path(__file__).parent.parent / "miniature" / "models"

PLAIN_QUESTION = JudgePrompt(
    template=(
        "Two attempts at the same problem are shown below. Both are unfinished.\n\n"
        "Problem:\n{problem}\n\nAttempt 1:\n{first}\n\nAttempt 2:\n{second}\n\n"
        "Will both attempts end in the same final answer? Answer with one word, Yes or No."
    ),
    same_token="Yes",
    different_token="No",
    chat=True,
)
"""Prompt of a judge without a `judge.json`: zero-shot prompting of any chat model."""


def resolve_model(name: str) -> str:
    """Return the folder of a model, or `name` itself if a hub has it.

    Raises:
        UserError: `name` is a path without a model.
    """
    if name.startswith("miniature/"):
        return str(_existing(MINIATURE / name.removeprefix("miniature/"), name))
    if name == "smollm2":
        from actors.smollm2 import smollm2_folder

        return str(smollm2_folder())
    path = Path(name).expanduser()
    if is_path(name):
        return str(_existing(path, name))
    return name


def judge_prompt(config: VllmJudgeConfig) -> JudgePrompt:
    """Return the judge's prompt: of the configuration, else its `judge.json`, else the default.

    Raises:
        UserError: `judge.json` does not validate.
    """
    return config.prompt or load_prompt(config.engine.model)


def load_prompt(model: str) -> JudgePrompt:
    """Load the prompt from `judge.json` in a model's folder; without one, return the default.

    Raises:
        UserError: `judge.json` does not validate.
    """
    beside = Path(resolve_model(model)) / JUDGE_FILE
    if not beside.is_file():
        return PLAIN_QUESTION
    try:
        return JudgePrompt.model_validate_json(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{beside} does not validate: {reason(error)}") from None


def feature_judge(config: FeatureJudgeConfig) -> FeatureJudge:
    """Load a feature judge.

    Raises:
        UserError: its folder holds none.
    """
    from deepprune.feature_judge import FeatureJudge  # loads SciPy

    return FeatureJudge.load(Path(config.folder).expanduser())


def encoder_judge(config: EncoderJudgeConfig) -> EncoderSettings:
    """Load an encoder judge's settings.

    Raises:
        UserError: a file of its folder is missing or not valid.
    """
    return EncoderSettings.load(encoder_folder(config))


def encoder_folder(config: EncoderJudgeConfig) -> Path:
    """Return the folder of an encoder judge.

    Raises:
        UserError: it does not exist.
    """
    return Path(resolve_model(config.folder))


def _existing(path: Path, name: str) -> Path:
    if not (path / "config.json").is_file():
        raise UserError(
            f"model {name!r}: there is no config.json in {path}; give the folder of a Hugging Face "
            "model, or a hub name"
        )
    return path
