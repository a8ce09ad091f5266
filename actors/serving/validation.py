"""Say what is wrong with a request body, in OpenAI's error format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.serving.errors import ApiError, bad_request


def explained(errors: Sequence[Any]) -> ApiError:
    """Explain the first of pydantic's errors: which parameter is wrong, and why."""
    detail = errors[0]
    if detail["type"] == "json_invalid":
        reason = detail.get("ctx", {}).get("error", "")
        return bad_request(f"The body is not valid JSON: {reason}", code="invalid_json")
    place = [*detail["loc"]]
    if place[:1] == ["body"]:
        place = place[1:]
    if not place:
        if detail["type"] == "missing":
            return bad_request("The body is empty; send a JSON object.", code="invalid_json")
        return bad_request("The body must be a JSON object.", code="invalid_json")
    place += [detail["ctx"]["param"]] if "param" in detail.get("ctx", {}) else []
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    param = param.removeprefix(".")
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden":
            return bad_request(f"Unknown parameter: {param!r}.", param, "unknown_parameter")
        case "missing":
            return bad_request(f"Missing parameter: {param!r}.", param, "missing_parameter")
        case "unsupported_parameter":
            return bad_request(f"{message}.", param, "unsupported_parameter")
    return bad_request(f"{param}: {message}.", param, "invalid_value")
