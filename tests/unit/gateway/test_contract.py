"""The OpenAPI document and the page made of it."""

import html.parser
import json
import re

import pytest

from gateway import docs, openapi
from native import errors

DOCUMENT = openapi.document()
METHODS = [(path, method, it) for path, methods in DOCUMENT["paths"].items() for method, it in methods.items()]


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere():
    """No shape is named that is not there, and none is there that nobody names."""
    found = {ref.removeprefix("#/components/schemas/") for ref in references(DOCUMENT)}

    assert found == set(DOCUMENT["components"]["schemas"])


def test_the_public_contract_is_covered():
    """Every address of the public contract is described."""
    paths = {
        "/function/upload", "/function/upload/{asset}", "/function/upload/{asset}/complete", "/function/inspect/{asset}",
        "/function/trim", "/function/merge", "/function/render", "/async-function/trim",
        "/function/status", "/function/status/{job}", "/function/status/{job}/retry",
        "/ws", "/openapi.json", "/docs", "/health", "/healthz",
    }  # fmt: skip

    assert paths <= set(DOCUMENT["paths"])


@pytest.mark.parametrize(("path", "method", "operation"), METHODS, ids=[f"{method} {path}" for path, method, _ in METHODS])
def test_an_operation_is_complete(path, method, operation):
    """It has a summary, its path's parameters, and answers with words."""
    named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}

    assert operation["summary"]
    assert named == set(re.findall(r"{(\w+)}", path))
    assert operation["responses"]
    assert all(answer["description"] for answer in operation["responses"].values())


def test_operation_names_are_unique():
    """Generators make functions of them."""
    names = [operation["operationId"] for _, _, operation in METHODS]

    assert sorted(names) == sorted(set(names))


def test_problem_codes_are_the_real_ones():
    """A code in the document is a code in the table of errors."""
    codes = set(re.findall(r"`(\w+)`: ", json.dumps(DOCUMENT["paths"])))

    assert codes <= set(errors.BY_CODE)
    assert {"invalid_range", "source_unreadable", "queue_unavailable"} <= codes


def test_shapes_can_be_replaced():
    """Whoever has the models may put their own shapes in."""
    mine = {"type": "object", "description": "mine"}

    assert openapi.document({"Trim": mine})["components"]["schemas"]["Trim"] == mine


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [value for name, value in given.items() if name in ("href", "src")]


def test_the_page_stands_alone():
    """No script, nothing from elsewhere, no link that leads nowhere."""
    page = Page()
    page.feed(docs.page(DOCUMENT))

    assert "script" not in page.tags
    assert {link.split("#")[0] for link in page.links} == {"", "/openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_shows_every_operation_and_escapes_what_it_shows():
    """Words of the document cannot become markup."""
    bad = openapi.document()
    bad["info"]["description"] = "<script>alert(1)</script> & `<b>`"
    text = docs.page(bad)

    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert all(path in text for path, _, _ in METHODS)
