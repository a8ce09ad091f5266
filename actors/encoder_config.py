"""What a saved encoder judge knows of itself; read before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from deepprune.errors import UserError
from deepprune.section import Section

ENCODER_FILE = "encoder.json"
HEAD_FILE = "head.safetensors"


class EncoderSettings(Section):
    """`encoder.json` in its folder, beside a Hugging Face model and the weights of its head."""

    checkpoint: str | None = None
    """The checkpoint it was trained on."""
    max_tokens: int = Field(ge=16)
    slope: float = Field(1.0, gt=0)
    shift: float = 0.0
    """Log-odds of P(same) are slope x those of its head + shift, by held-out pairs."""
    tau: float | None = Field(None, gt=0, lt=1)
    base_rate: float | None = Field(None, gt=0, lt=1)
    auroc: float | None = Field(None, ge=0.5, le=1)

    @classmethod
    def load(cls, folder: Path) -> EncoderSettings:
        """Read it.

        Raises:
            UserError: the folder is not whole.
        """
        missing = [name for name in ("config.json", HEAD_FILE) if not (folder / name).is_file()]
        try:
            if missing:
                raise ValueError(f"{missing[0]} is missing")
            return cls.model_validate_json((folder / ENCODER_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder} holds no whole encoder judge ({' '.join(str(error).split())[:160]}): "
                "train one with `deepprune train`"
            ) from None

    def save(self, folder: Path) -> None:
        """Write it."""
        text = self.model_dump_json(indent=2, exclude_none=True)
        (folder / ENCODER_FILE).write_text(text + "\n", encoding="utf-8")
