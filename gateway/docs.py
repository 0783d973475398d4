"""/docs: the OpenAPI document as one page to read. No script, nothing from anywhere else."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #8889; --soft: #8881 }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 6rem }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) } h3 { margin: 2rem 0 .3rem; font-size: 1.05rem }
code, pre { font: .875em/1.5 ui-monospace, monospace }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto }
:not(pre) > code { background: var(--soft); padding: .1em .35em; border-radius: 4px }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem }
td, th { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0 }
tr + tr td { border-top: 1px solid var(--line) } td:first-child { white-space: nowrap }
.method { font-weight: 700; display: inline-block; min-width: 4.5em } .dim { opacity: .7 }
nav a { margin-right: 1.2em } a { color: inherit }
"""


def page(document: dict[str, Any]) -> str:
    info, schemas = document["info"], document["components"]["schemas"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])}</h1><p class=dim>version {escape(info['version'])} · <a href=/openapi.json>openapi.json</a></p>",
        _prose(info["description"]),
        "<p>Every call carries <code>Authorization: Bearer nve_…</code>. ",
        "Errors are <a href=#Problem>problems</a> with a stable <code>code</code>.</p>",
        "<nav>",
        *(f"<a href='#{escape(tag['name'])}'>{escape(tag['name'])}</a>" for tag in document["tags"]),
        "<a href=#shapes>shapes</a></nav>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2 id='{escape(tag['name'])}'>{escape(tag['name'])}</h2>{_prose(tag['description'])}")
        for path, methods in document["paths"].items():
            parts += [_operation(path, method, it) for method, it in methods.items() if tag["name"] in it["tags"]]
    parts.append("<h2 id=shapes>shapes</h2>")
    parts += [_schema(name, schema) for name, schema in schemas.items()]
    return "\n".join(parts) + "</html>\n"


def _prose(text: str) -> str:
    """Escaped text with `code` in backquotes and paragraphs at blank lines."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n"))


def _inline(text: str) -> str:
    return _prose(text).removeprefix("<p>").removesuffix("</p>")


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f"<h3 id='{escape(operation['operationId'])}'><span class=method>{method.upper()}</span> <code>{escape(path)}</code></h3>",
        f"<p>{_inline(operation['summary'])}. {_inline(operation.get('description', ''))}</p>",
    ]
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        parts.append(f"<p>Body: {_type(content['schema'])}</p>")
        if "example" in content:
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2, ensure_ascii=False), quote=False)}</pre>")
    rows = [
        _row(f"<code>{escape(it['name'])}</code> <span class=dim>{it['in']}</span>", _type(it["schema"]), it.get("description", ""))
        for it in operation.get("parameters", ())
    ]
    rows += [_row(status, _shapes(answer), answer["description"]) for status, answer in operation["responses"].items()]
    return "\n".join(parts) + f"<table>{''.join(rows)}</table>"


def _row(name: str, shape: str, description: str) -> str:
    return f"<tr><td>{name}<td>{shape}<td>{_inline(description)}"


def _shapes(answer: dict[str, Any]) -> str:
    return " or ".join(_type(content["schema"]) for content in answer.get("content", {}).values())


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return " · ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("properties"):
        return "{" + ", ".join(f"<code>{escape(name)}</code>: {_type(inner)}" for name, inner in schema["properties"].items()) + "}"
    return escape(str(schema.get("type", "anything")))


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts = [f"<h3 id='{escape(name)}'>{escape(name)}</h3>", _prose(schema.get("description", ""))]
    if properties := schema.get("properties"):
        required = schema.get("required", ())
        rows = [
            _row(
                f"<code>{escape(key)}</code>{'' if key in required else ' <span class=dim>optional</span>'}",
                _type(inner),
                inner.get("description", ""),
            )
            for key, inner in properties.items()
        ]
        parts.append(f"<table>{''.join(rows)}</table>")
    else:
        parts.append(f"<p>{_type(schema)}</p>")
    return "\n".join(parts)
