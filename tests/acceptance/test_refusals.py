"""What a stranger may send, and what comes back: always a problem document, never a row, never a 5xx."""

import json
import uuid

import pytest

DIGITS = "9" * 400


@pytest.fixture(scope="module")
def asset(user, clip):
    """One good source."""
    return user.upload(clip)


def rows(database):
    return tuple(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("jobs", "assets"))


REQUESTS = {
    "malformed JSON": ("trim", b'{"source": ', 400, "malformed_request", None),
    "not UTF-8": ("trim", b'{"source": "\xff\xfe"}', 400, "malformed_request", None),
    "a list": ("trim", b"[]", 400, "malformed_request", None),
    "nothing": ("trim", b"", 400, "malformed_request", None),
    "a field twice": ("trim", b'{"source": "A", "source": "A", "start": 0, "end": 1}', 400, "malformed_request", None),
    "too deep": ("trim", b"[" * 100_000, 400, "malformed_request", None),
    "unknown field": ("trim", {"start": 0, "end": 1, "colour": "red"}, 400, "invalid_request", "colour"),
    "missing field": ("trim", {"start": 0}, 400, "invalid_request", "end"),
    "number as source": ("trim", {"source": 7, "start": 0, "end": 1}, 400, "invalid_request", "source"),
    "unknown mode": ("trim", {"start": 0, "end": 1, "mode": "fast"}, 400, "invalid_request", "mode"),
    "unknown container": ("trim", {"start": 0, "end": 1, "output": {"container": "exe"}}, 400, "invalid_request", "output.container"),
    "text as a time": ("trim", {"start": "soon", "end": 1}, 400, "invalid_range", "start"),
    "true as a time": ("trim", {"start": True, "end": 1}, 400, "invalid_range", "start"),
    "start at end": ("trim", {"start": 1, "end": 1}, 400, "invalid_range", "end"),
    "start after end": ("trim", {"start": "1.5", "end": "00:00:01"}, 400, "invalid_range", "end"),
    "negative": ("trim", {"start": -1, "end": 1}, 400, "invalid_range", "start"),
    "negative zero": ("trim", b'{"source": "A", "start": -0.5, "end": 1}', 400, "invalid_range", "start"),
    "NaN": ("trim", b'{"source": "A", "start": NaN, "end": 1}', 400, "invalid_range", "start"),
    "infinity": ("trim", b'{"source": "A", "start": 0, "end": Infinity}', 400, "invalid_range", "end"),
    "exponent": ("trim", b'{"source": "A", "start": 0, "end": 1e3}', 400, "invalid_range", "end"),
    "400 digits": ("trim", f'{{"source": "A", "start": 0, "end": {DIGITS}}}'.encode(), 400, "invalid_range", "end"),
    "400 digits of text": ("trim", {"start": 0, "end": DIGITS}, 400, "invalid_range", "end"),
    "400 decimals": ("trim", f'{{"source": "A", "start": 0.{DIGITS}, "end": 1}}'.encode(), 400, "invalid_range", "start"),
    "Arabic digits": ("trim", {"start": 0, "end": "\u0661"}, 400, "invalid_range", "end"),
    "61 seconds": ("trim", {"start": 0, "end": "00:00:61"}, 400, "invalid_range", "end"),
    "past the end": ("trim", {"start": 0, "end": 3600}, 400, "invalid_range", "end"),
    "starts past the end": ("trim", {"start": 3600, "end": 3601}, 400, "invalid_range", "start"),
    "frame past the end": ("trim", {"start": "0f", "end": "99999f"}, 400, "invalid_range", "end"),
    "unknown asset": ("trim", {"source": str(uuid.uuid4()), "start": 0, "end": 1}, 404, "not_found", "source"),
    "no asset id": ("trim", {"source": "' OR 1=1--", "start": 0, "end": 1}, 404, "not_found", "source"),
    "path as asset": ("trim", {"source": "../../etc/passwd", "start": 0, "end": 1}, 404, "not_found", "source"),
    "address as asset": ("trim", {"source": "http://127.0.0.1/x.mp4", "start": 0, "end": 1}, 404, "not_found", "source"),
    "no sources": ("merge", {"sources": []}, 400, "invalid_request", "sources"),
    "1001 sources": ("merge", {"sources": ["A"] * 1001}, 400, "invalid_request", "sources"),
    "bad range in a merge": ("merge", {"sources": ["A", {"asset": "A", "start": 9999}]}, 400, "invalid_range", "sources.1.start"),
    "unknown asset in a merge": ("merge", {"sources": ["A", "nobody"]}, 404, "not_found", "sources.1.asset"),
    "no clips": ("render", {"edit": {"tracks": [{"clips": []}]}}, 400, "invalid_request", "edit.tracks.0.clips"),
    "text as size": ("upload", {"name": "x", "size": "many"}, 400, "invalid_request", "size"),
    "negative size": ("upload", {"name": "x", "size": -1}, 400, "invalid_request", "size"),
    "a petabyte": ("upload", {"name": "x", "size": 10**15}, 413, "too_large", "size"),
    "header in a type": ("upload", {"name": "x", "size": 1, "type": "a/b\r\nX: y"}, 400, "invalid_request", "type"),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS)
def test_a_bad_request_is_refused_before_anything_exists(what, user, asset, database):
    """A bad request gets a stable code and the field's name, and leaves neither a job nor an asset."""
    operation, body, status, code, field = REQUESTS[what]
    if isinstance(body, dict):
        body = {"source": "A", **body} if operation == "trim" and what != "number as source" else body
        body = json.dumps(body).encode()
    before = rows(database)

    answer = user.http.post(f"/function/{operation}", content=body.replace(b'"A"', json.dumps(asset).encode()))

    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["detail"]
    assert rows(database) == before


def test_ten_megabytes_are_too_large(user, database):
    """A body of 10 MB is refused with 413."""
    before = rows(database)

    answer = user.http.post("/function/trim", content=b'{"source": "' + b"x" * 10_000_000 + b'"}')

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert rows(database) == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(method, user):
    """An operation answers POST only."""
    assert user.http.request(method, "/function/trim").status_code == 405


@pytest.mark.parametrize("key", [None, "nve_wrong", "", "x" * 5000])
def test_no_key_no_answer(key, url, asset):
    """Without a valid key everything is 401, and what it says is the same for every wrong key."""
    from tests.acceptance.stranger import Stranger

    nobody = Stranger(url, key)
    answers = [
        nobody.post("trim", {"source": asset, "start": 0, "end": 1}),
        nobody.http.get("/function/status"),
        nobody.http.get(f"/function/inspect/{asset}"),
        nobody.http.post("/function/upload", json={"name": "x", "size": 1}),
    ]
    nobody.close()

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "unauthenticated")] * 4


@pytest.mark.parametrize("job", ["x", "' OR 1=1--", str(uuid.uuid4()), "0" * 5000, "%2e%2e%2f"])
def test_an_unknown_job_is_not_found(job, user):
    """What is no job of mine does not exist, however it is spelt."""
    assert user.http.get(f"/function/status/{job}").status_code in (404, 414)


def test_an_unknown_function_is_not_found(user):
    """A function that is not there is 404, synchronously and asynchronously."""
    assert user.http.post("/function/nothing", content=b"{}").status_code == 404
    assert user.http.post("/async-function/nothing", content=b"{}").status_code == 404


def test_owners_do_not_see_each_other(user, other, asset):
    """Another owner's assets and jobs answer 404 to every verb, and are not listed."""
    job = user.post("trim", {"source": asset, "start": 0, "end": 1}).json()["id"]

    answers = [
        other.post("trim", {"source": asset, "start": 0, "end": 1}),
        other.post("merge", {"sources": [asset]}),
        other.http.get(f"/function/inspect/{asset}"),
        other.http.get(f"/function/upload/{asset}"),
        other.http.post(f"/function/upload/{asset}/complete"),
        other.http.delete(f"/function/upload/{asset}"),
        other.http.get(f"/function/status/{job}"),
        other.http.get(f"/function/status/{job}", headers={"Accept": "text/event-stream"}),
        other.http.delete(f"/function/status/{job}"),
        other.http.post(f"/function/status/{job}/retry"),
    ]

    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert job not in [it["id"] for it in other.http.get("/function/status").json()["jobs"]]
    assert asset not in [it["asset"] for it in other.http.get("/function/upload").json()["assets"]]
