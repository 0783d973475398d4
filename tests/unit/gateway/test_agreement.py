"""What the OpenAPI document promises is what the functions take: compared with their own models, as they are."""

import importlib.util
import json
from pathlib import Path

import pytest

from gateway import openapi
from native import request
from native.jobs import cursor

ROOT = Path(__file__).parents[3]
DOCUMENT = openapi.document()
SHAPES = DOCUMENT["components"]["schemas"]

# What is for readers only; and an object's default, which is that of its fields.
WORDS = {"title", "description", "example", "examples"}
# A model sees numbers after the parser has made text of decimals, so that 10.1 stays 10.1.
MODEL_TIME = [{"type": "integer"}, {"type": "string"}]
GATEWAY_TIME = [{"type": "number", "minimum": 0}, {"type": "string"}]


def handler(name):
    """A function's module, without any of its servers."""
    spec = importlib.util.spec_from_file_location(f"handler_of_{name}", ROOT / "functions" / name / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(name):
    return getattr(handler(name), name.title())


def plain(node, shapes):
    """A schema without words and references; a choice is sorted, and a time is called that."""
    if isinstance(node, list):
        return [plain(item, shapes) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:  # what else it has beside it is the default
        return plain(shapes[node["$ref"].rpartition("/")[2]], shapes)
    if "properties" in node:
        inner = {name: plain(it, shapes) for name, it in node["properties"].items()}
        return {
            "properties": inner,
            "required": sorted(node.get("required", ())),
            **{name: value for name, value in node.items() if name not in {"properties", "required", *WORDS}},
        }
    kept = {
        name: plain(value, shapes) for name, value in node.items() if name not in WORDS and (name != "default" or isinstance(value, str))
    }
    if "anyOf" in kept:
        kept["anyOf"] = sorted(_flat(kept["anyOf"]), key=lambda it: json.dumps(it, sort_keys=True))
        for time in (MODEL_TIME, GATEWAY_TIME):
            if all(one in kept["anyOf"] for one in time):
                kept["anyOf"] = ["time", *(one for one in kept["anyOf"] if one not in time)]
    return kept["anyOf"][0] if kept.get("anyOf") == ["time"] else kept


def _flat(choices):
    return [one for choice in choices for one in (choice["anyOf"] if isinstance(choice, dict) and set(choice) == {"anyOf"} else [choice])]


def promised(name):
    shape = plain(SHAPES[name.title()], SHAPES)
    if name == "merge":
        # A bare id stands for a whole asset: the model takes it before it looks at its fields, so its schema does not say.
        id, part = sorted(shape["properties"]["sources"]["items"]["anyOf"], key=lambda it: "properties" in it)
        assert id == part["properties"]["asset"]
        shape["properties"]["sources"]["items"] = part
    return shape


@pytest.mark.parametrize("name", ["trim", "merge", "render", "upload"])
def test_a_request_is_what_the_function_takes(name):
    """Fields, which of them are needed, their types, bounds and defaults: all the same, and nothing else is promised."""
    taken = model(name).model_json_schema()

    assert promised(name) == plain({key: value for key, value in taken.items() if key != "$defs"}, taken.get("$defs", {}))


@pytest.mark.parametrize("name", ["trim", "merge", "render", "upload"])
def test_an_example_is_taken(name):
    """What the document shows can be sent as it is."""
    body = json.dumps(SHAPES[name.title()]["example"]).encode()

    assert request.parse(model(name), request.parse_json(body, len(body)))


def test_a_page_is_as_long_as_promised():
    """The most rows of a page are the same for the document, the functions and the database."""
    limits = {
        parameter["schema"]["maximum"]
        for path in ("/function/status", "/function/upload")
        for parameter in DOCUMENT["paths"][path]["get"]["parameters"]
        if parameter["name"] == "limit"
    }

    assert limits == {cursor.MAX_LIMIT}
    assert {handler("status").MAX_PAGE, handler("upload").MAX_PAGE} == {cursor.MAX_LIMIT}


def test_a_wait_is_as_long_as_promised():
    """The longest `?wait=` is the function's own."""
    wait = next(it for it in DOCUMENT["paths"]["/function/status/{job}"]["get"]["parameters"] if it["name"] == "wait")

    assert wait["schema"]["maximum"] == handler("status").MAX_WAIT_SECONDS
