"""Reading what strangers send: exact numbers, no surprises, and an error that names the field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from native import errors
from native.media import timecode

# Longer integers than this mean nothing here, and turning a 10 000-digit one into an int is an attack.
MAX_DIGITS = 20


class Request(BaseModel):
    """The base of every request body: frozen, and an unknown field is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def sources(self) -> Sequence[tuple[str, str]]:
        """The assets the request names, each as (field, asset id)."""
        return ()


def _time(value: Any) -> timecode.Time:
    try:
        return timecode.parse(value)
    except errors.Problem as problem:
        raise PydanticCustomError("invalid_range", "{detail}", {"detail": problem.detail}) from None


Time = Annotated[timecode.Time, PlainValidator(_time, json_schema_input_type=str | int)]
AssetId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
R = TypeVar("R", bound=Request)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise errors.MALFORMED_REQUEST("A JSON object names the same field twice")
    return found


def parse_json(body: bytes, max_bytes: int) -> Any:
    """JSON whose decimal numbers stay text, so that 10.1 is exactly 10.1.

    Raises TOO_LARGE and MALFORMED_REQUEST.
    """
    if len(body) > max_bytes:
        raise errors.TOO_LARGE(f"The request is larger than {max_bytes} bytes")
    try:
        return json.loads(
            body,
            parse_float=str,
            parse_constant=str,
            parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else digits,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError):
        raise errors.MALFORMED_REQUEST("The body is not valid JSON in UTF-8") from None


def parse(model: type[R], given: Any) -> R:
    """A request of this model. Raises INVALID_REQUEST or INVALID_RANGE with the first wrong field's name."""
    if not isinstance(given, dict):
        raise errors.MALFORMED_REQUEST("The body must be a JSON object")
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        kind = errors.INVALID_RANGE if first["type"] == "invalid_range" else errors.INVALID_REQUEST
        raise kind(f"{field}: {first['msg']}" if field else first["msg"], field=field or None) from None
