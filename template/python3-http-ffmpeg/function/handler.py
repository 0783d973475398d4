"""The smallest function: say what was heard."""

from typing import Any


def handle(event: Any, context: Any) -> dict[str, Any]:
    return {"statusCode": 200, "body": {"heard": event.body.decode(errors="replace"), "host": context.hostname}}
