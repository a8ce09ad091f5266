"""The parameters that a chat completion request may hold but that this endpoint does not act on.

One that would change the answer is refused by name, except at the values that change nothing, which
clients send by default. One that cannot change the answer is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Only:
    """A field that accepts null and a few values; other values are refused by name."""

    def __init__(self, *values: Any) -> None:
        self.values = (None, *values)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(self.values)}

    def _check(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if any(_same(value, accepted) for accepted in self.values):
            return value
        raise PydanticCustomError(
            "unsupported_parameter",
            "'{name}' is not supported by this endpoint; leave it out",
            {"name": info.field_name},
        )


def _same(value: Any, accepted: Any) -> bool:
    """Compare values; true is not 1 and false is not 0."""
    return bool(value == accepted) and isinstance(value, bool) == isinstance(accepted, bool)


class Body(BaseModel):
    """A JSON object without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class InertParameters(Body):
    """Parameters of OpenAI's API and of vLLM's."""

    # OpenAI's, ignored.
    metadata: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    user: Any = None
    # OpenAI's, refused.
    audio: Annotated[Any, Only()] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    logit_bias: Annotated[Any, Only({})] = None
    logprobs: Annotated[Any, Only(False)] = None
    modalities: Annotated[Any, Only(["text"])] = None
    n: Annotated[Any, Only(1)] = None
    prediction: Annotated[Any, Only()] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    verbosity: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None
    # vLLM's, ignored.
    cache_salt: Any = None
    request_id: Any = None
    return_token_ids: Any = None
    return_tokens_as_token_ids: Any = None
    session_id: Any = None
    # vLLM's, refused.
    add_generation_prompt: Annotated[Any, Only(True)] = None
    add_special_tokens: Annotated[Any, Only(False)] = None
    allowed_token_ids: Annotated[Any, Only()] = None
    bad_words: Annotated[Any, Only([])] = None
    best_of: Annotated[Any, Only(1)] = None
    chat_template: Annotated[Any, Only()] = None
    continue_final_message: Annotated[Any, Only(False)] = None
    documents: Annotated[Any, Only([])] = None
    echo: Annotated[Any, Only(False)] = None
    guided_choice: Annotated[Any, Only()] = None
    guided_grammar: Annotated[Any, Only()] = None
    guided_json: Annotated[Any, Only()] = None
    guided_regex: Annotated[Any, Only()] = None
    ignore_eos: Annotated[Any, Only(False)] = None
    include_stop_str_in_output: Annotated[Any, Only(False)] = None
    kv_transfer_params: Annotated[Any, Only()] = None
    length_penalty: Annotated[Any, Only(1)] = None
    logits_processors: Annotated[Any, Only([])] = None
    min_p: Annotated[Any, Only(0)] = None
    min_tokens: Annotated[Any, Only(0)] = None
    mm_processor_kwargs: Annotated[Any, Only({})] = None
    priority: Annotated[Any, Only(0)] = None
    prompt_logprobs: Annotated[Any, Only()] = None
    repetition_penalty: Annotated[Any, Only(1)] = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    spaces_between_special_tokens: Annotated[Any, Only(True)] = None
    stop_token_ids: Annotated[Any, Only([])] = None
    structured_outputs: Annotated[Any, Only()] = None
    truncate_prompt_tokens: Annotated[Any, Only()] = None
    use_beam_search: Annotated[Any, Only(False)] = None
    vllm_xargs: Annotated[Any, Only({})] = None
