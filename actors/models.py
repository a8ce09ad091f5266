"""Where a model's name leads: a folder on disk, the miniature, a PyPI package, or a hub."""

from __future__ import annotations

from pathlib import Path

from actors.encoder_config import EncoderSettings
from deepprune.config import EncoderJudgeConfig, FeatureJudgeConfig, JudgePrompt, VllmJudgeConfig
from deepprune.errors import UserError
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
"""What a judge without a `judge.json` is asked: zero-shot prompting of any chat model."""


def resolve_model(name: str) -> str:
    """The folder of a model, or `name` itself where it has to come from a hub.

    Raises:
        UserError: `name` is written as a path and nothing is there.
    """
    if name.startswith("miniature/"):
        return str(_existing(MINIATURE / name.removeprefix("miniature/"), name))
    if name == "smollm2":
        from actors.smollm2 import smollm2_folder

        return str(smollm2_folder())
    path = Path(name).expanduser()
    looks_like_path = name.startswith(("/", ".", "~")) or name.count("/") > 1
    if looks_like_path or path.exists():
        return str(_existing(path, name))
    return name


def judge_prompt(config: VllmJudgeConfig) -> JudgePrompt:
    """How this judge is asked: by the configuration, else by its `judge.json`, else plainly.

    Raises:
        UserError: `judge.json` does not validate.
    """
    return config.prompt or load_prompt(config.engine.model)


def load_prompt(model: str) -> JudgePrompt:
    """The prompt in `judge.json` of a model's folder, else the plain question.

    Raises:
        UserError: `judge.json` does not validate.
    """
    beside = Path(resolve_model(model)) / JUDGE_FILE
    if not beside.is_file():
        return PLAIN_QUESTION
    try:
        return JudgePrompt.model_validate_json(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{beside} does not validate: {' '.join(str(error).split())}") from None


def feature_judge(config: FeatureJudgeConfig) -> FeatureJudge:
    """A feature judge as it was learned.

    Raises:
        UserError: there is none.
    """
    return FeatureJudge.load(Path(config.folder).expanduser())


def encoder_judge(config: EncoderJudgeConfig) -> EncoderSettings:
    """What an encoder judge knows of itself.

    Raises:
        UserError: its folder is not whole.
    """
    return EncoderSettings.load(encoder_folder(config))


def encoder_folder(config: EncoderJudgeConfig) -> Path:
    """Where an encoder judge is.

    Raises:
        UserError: nowhere.
    """
    return Path(resolve_model(config.folder))


def _existing(path: Path, name: str) -> Path:
    if not (path / "config.json").is_file():
        raise UserError(
            f"model {name!r}: there is no config.json in {path}; give the folder of a Hugging Face "
            "model, or a hub name"
        )
    return path
