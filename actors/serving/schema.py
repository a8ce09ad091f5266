"""The OpenAPI schema of the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from actors.serving.chat import ChatRequest
from actors.serving.completion import Completion
from actors.serving.errors import ErrorBody
from actors.serving.middleware import GUARDED

REF = "#/components/schemas/{model}"

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused."},
    "5XX": {"model": ErrorBody, "description": "The server could not serve it."},
}

CHAT_RESPONSES: dict[str, Any] = {
    "responses": {
        200: {
            "model": Completion,
            "description": "The answer; with `stream`, server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **ERRORS,
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REF.format(model="ChatRequest")}}},
        }
    },
}


def openapi_schema(app: FastAPI, models: list[str]) -> dict[str, Any]:
    """Build the schema of the routes, with the names of the served models."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    request = ChatRequest.model_json_schema(ref_template=REF)
    request["properties"]["model"] = {"type": "string", "enum": models}
    parts = schema.setdefault("components", {}).setdefault("schemas", {})
    parts |= request.pop("$defs", {}) | {"ChatRequest": request}
    parts["ChatMessage"].pop("description", None)
    parts.pop("HTTPValidationError", None)
    parts.pop("ValidationError", None)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if path.startswith(GUARDED):
                operation["security"] = [{"key": []}]
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return schema
