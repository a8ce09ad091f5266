"""Load the tokenizer of a model: the same one for prompts, traces, pairs, judges and training.

`tokenizer.json` is taken as it is. The class that `tokenizer_config.json` names is ignored where
there is a choice: DeepSeek-R1-0528-Qwen3-8B names `LlamaTokenizerFast` over a byte-level
vocabulary, and transformers 5 then replaces its pre-tokenizer and loses every space.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from actors.models import resolve_model
from deepprune.errors import UserError, reason
from deepprune.traces import Message

HUB_TIMEOUT_S = 5.0
PROBE = "Let x = 6.\n\nThen 7 * x <= 42, so \\boxed{42}."
"""A text that every tokenizer of a reasoning model must give back."""


def load_tokenizer(model: str) -> Any:
    """Load the tokenizer of `model`, a folder or a name on the hub.

    Raises:
        UserError: there is no such model, no hub to fetch it from, or its tokenizer loses text.
    """
    # Named by its class: the automatic choice imports torch, for ten seconds.
    from transformers import PreTrainedTokenizerFast

    # Callers measure lengths themselves; transformers would warn beside their refusal.
    load = partial(PreTrainedTokenizerFast.from_pretrained, model_max_length=sys.maxsize)
    tokenizer = load_file(load, model)
    text = tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False))
    if text.strip() != PROBE:
        raise UserError(
            f"the tokenizer of {model!r} does not give back what it encodes ({PROBE!r} became "
            f"{text!r}): its files are damaged, or of another model"
        )
    return tokenizer


def prompt_token_ids(
    tokenizer: Any,
    chat: Sequence[Message],
    kwargs: Mapping[str, Any] | None = None,
    date: datetime.date | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[int]:
    """Encode a conversation through the model's chat template, or as plain text without one.

    `kwargs` and `tools` go to the template; `date` replaces today's date in it.

    Raises:
        jinja2.TemplateError: the template refuses the conversation, such as its system message.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        plain = "\n\n".join(message.content for message in chat)
        ids: list[int] = tokenizer.encode(plain)
        return ids
    today = {} if date is None else {"strftime_now": date.strftime}
    text: str = tokenizer.apply_chat_template(
        [_template_turn(message) for message in chat],
        tools=list(tools) or None,
        add_generation_prompt=True,
        tokenize=False,
        **(kwargs or {}),
        **today,
    )
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids


def template_reads(tokenizer: Any, name: str) -> bool:
    """Whether the model's chat template reads an argument of this name."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def _template_turn(message: Message) -> dict[str, Any]:
    """A turn as chat templates take it: with the arguments of tool calls as objects."""
    turn = message.as_dict()
    for call in turn.get("tool_calls", ()):
        with suppress(ValueError):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    return turn


def load_file(load: Callable[..., Any], model: str) -> Any:
    """Call a transformers loader with the folder or the hub name of `model`.

    Raises:
        UserError: there is no such model, or no hub to fetch it from.
    """
    folder = resolve_model(model)
    try:
        return load(folder, local_files_only=Path(folder).is_dir() or _is_cached(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load model {model!r}: {reason(error)}") from None


def _is_cached(model: str) -> bool:
    """Whether a hub model is on this machine already; else the hub must have it.

    The hub is asked once, here: its client repeats each request for half a minute.

    Raises:
        UserError: the hub does not have it, or cannot be reached.
    """
    import httpx
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return True
    url = f"{constants.ENDPOINT}/{model}/resolve/main/config.json"
    try:
        status = httpx.head(url, timeout=HUB_TIMEOUT_S, follow_redirects=True).status_code
    except httpx.HTTPError as error:
        raise UserError(
            f"model {model!r} is no folder here, and no hub can be reached to fetch it ({error})"
        ) from None
    if status in (401, 403, 404):
        raise UserError(
            f"model {model!r} is no folder here, and the hub does not give it (status {status}): "
            "check the name, and for a gated model log in with `hf auth login`"
        )
    return False
