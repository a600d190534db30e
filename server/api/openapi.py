"""What the server says about itself in OpenAPI: FastAPI's description, with our words, our problems and our ids.

The sentence of a route is its summary; every problem is an RFC 9457 document with an example; ids are UUIDs. What
FastAPI would add of its own about invalid requests is taken away: nothing here answers like that.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from server.api.device_docs import DEVICE_DOORS, TAGS
from server.api.documents import problem_answer

_UNCOUNTED = frozenset({"/healthz", "/readyz"})
_SENTENCE_END = re.compile(r"[.:;](?=\s|$)")
_EXAMPLES: Mapping[str, str] = {
    "code": "AZcKbjwAelqcHwsfaj9tEbq4wY0m8t7bEf0nVIvJ4xs",
    "town_id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11",
}
_ID_EXAMPLE = "01970a6e-3c00-7a56-9d2e-5a1f6a3f6d16"
_WITH_BODY = (400, 408, 413, 415)


def described(said: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description of the application, made ours in place."""
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            known = DEVICE_DOORS.get((method, path))
            if known is not None:
                operation.update({"tags": TAGS, **copy.deepcopy(dict(known))})
            _describe(path, operation)
    parts = said.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):
        parts.get("schemas", {}).pop(name, None)
    parts.setdefault("securitySchemes", {})["device"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return said


def _describe(path: str, operation: dict[str, Any]) -> None:
    words = " ".join(operation["description"].split())
    operation["description"] = words
    operation["summary"] = _SENTENCE_END.split(words)[0]
    operation["tags"] = list(dict.fromkeys(operation.get("tags", ())))
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    usual = [*(_WITH_BODY if "requestBody" in operation else ()), *(() if path in _UNCOUNTED else (429,))]
    for status in usual:
        answers.setdefault(str(status), problem_answer(status))
    operation["responses"] = dict(sorted(answers.items()))
    _describe_parameters(operation.get("parameters", ()))


def _describe_parameters(parameters: Iterable[dict[str, Any]]) -> None:
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] != "path":
            continue
        parameter["example"] = _EXAMPLES.get(name, _ID_EXAMPLE)
        if name.endswith("_id"):
            parameter["schema"] = {"type": "string", "format": "uuid"}
