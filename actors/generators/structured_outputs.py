"""JSON schemas that answers must follow, enforced by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.messages import PromptRefused

if TYPE_CHECKING:
    from vllm.sampling_params import StructuredOutputsParams
    from vllm.v1.engine.async_llm import AsyncLLM


def structured_outputs(json_schema: str | None) -> StructuredOutputsParams | None:
    """The engine's parameters for a schema; None where there is none."""
    from vllm.sampling_params import StructuredOutputsParams

    return None if json_schema is None else StructuredOutputsParams(json=json_schema)


def check_schema(engine: AsyncLLM, json_schema: str) -> None:
    """Compile a schema as the engine would.

    Raises:
        PromptRefused: the engine cannot enforce it.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError

    processor = engine.input_processor
    try:
        SamplingParams(structured_outputs=structured_outputs(json_schema)).verify(
            processor.model_config,
            processor.speculative_config,
            processor.structured_outputs_config,
            processor.tokenizer,
        )
    except (ValueError, VLLMValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PromptRefused(
            f"'response_format': the engine cannot enforce it: {reason}", "response_format"
        ) from None
