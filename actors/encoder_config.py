"""The settings of a saved encoder judge; read without importing torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from deepprune.errors import UserError, reason
from deepprune.section import Section

ENCODER_FILE = "encoder.json"
HEAD_FILE = "head.safetensors"


class EncoderSettings(Section):
    """`encoder.json` of a judge's folder, beside a Hugging Face model and the head's weights."""

    checkpoint: str | None = None
    """The checkpoint of its training pairs."""
    max_tokens: int = Field(ge=16)
    slope: float = Field(1.0, gt=0)
    shift: float = 0.0
    """Log-odds of P(same) = slope x the head's output + shift, fitted on held-out pairs."""
    tau: float | None = Field(None, gt=0, lt=1)
    base_rate: float | None = Field(None, gt=0, lt=1)
    auroc: float | None = Field(None, ge=0.5, le=1)

    @classmethod
    def load(cls, folder: Path) -> EncoderSettings:
        """Load the settings of the judge in `folder`.

        Raises:
            UserError: a file is missing or not valid.
        """
        missing = [name for name in ("config.json", HEAD_FILE) if not (folder / name).is_file()]
        try:
            if missing:
                raise ValueError(f"{missing[0]} is missing")
            return cls.model_validate_json((folder / ENCODER_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder} holds no whole encoder judge ({reason(error)}): "
                "train one with `deepprune train`"
            ) from None

    def save(self, folder: Path) -> None:
        """Write the settings into `folder`."""
        text = self.model_dump_json(indent=2, exclude_none=True)
        (folder / ENCODER_FILE).write_text(text + "\n", encoding="utf-8")
