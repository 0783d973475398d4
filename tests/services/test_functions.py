"""Functions behind the template's server, on real stores."""

import contextlib
import signal

import httpx
import pytest

from native.jobs.database import Database
from native.jobs.keys import Keys
from tests.function import Function


@pytest.fixture
def key(database_url):
    database = Database(database_url)
    yield Keys(database).create("me", "test")
    database.close()


@pytest.fixture
def start(environment, tmp_path):
    """Starts functions; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda name, **more: stack.enter_context(Function(name, environment, tmp_path / f"{name}.log", **more))


def client(function, key):
    return httpx.Client(base_url=function.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_an_upload_goes_to_the_store_in_parts(start, key):
    """Parts sent to the offered addresses become one object of the same bytes, and a look inside says what is wrong with it."""
    body = bytes(range(256)) * 40_000  # 10 240 000 bytes: two parts
    with client(start("upload"), key) as http:
        offer = http.post("/", json={"name": "noise.mp4", "size": len(body)}).json()
        for part in offer["parts"]:
            assert httpx.put(part["url"], content=body[part["offset"] : part["offset"] + part["size"]]).status_code == 200
        asset = http.post(f"/{offer['asset']}/complete").json()

        assert len(offer["parts"]) == 2
        assert (asset["state"], asset["problem"]["code"]) == ("ready", "source_unsupported")
        assert httpx.get(asset["url"]).content == body
        assert http.post(f"/{offer['asset']}/complete").json()["state"] == "ready"


def test_an_interrupted_upload_says_what_is_missing(start, key):
    """Asking again for an upload gives addresses for the missing parts only, and completing it names them."""
    body = b"x" * 20_000_000
    with client(start("upload"), key) as http:
        offer = http.post("/", json={"name": "a.mp4", "size": len(body)}).json()
        first = offer["parts"][0]
        httpx.put(first["url"], content=body[: first["size"]])

        again = http.get(f"/{offer['asset']}").json()
        refused = http.post(f"/{offer['asset']}/complete")

        assert [("url" in part) for part in again["parts"]] == [False, True, True]
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "2, 3" in refused.json()["detail"]


def test_an_empty_file_is_an_asset_that_says_so(start, key):
    """A file of no bytes can be uploaded; it is known to be empty."""
    with client(start("upload"), key) as http:
        offer = http.post("/", json={"name": "empty.mp4", "size": 0}).json()
        asset = http.post(f"/{offer['asset']}/complete").json()

    assert offer["parts"] == []
    assert (asset["state"], asset["size"], asset["problem"]["code"]) == ("ready", 0, "source_empty")


def test_a_deleted_asset_is_gone(start, key):
    """After DELETE neither the asset nor its bytes are there."""
    with client(start("upload"), key) as http:
        offer = http.post("/", json={"name": "a.txt", "size": 5}).json()
        httpx.put(offer["parts"][0]["url"], content=b"hello")
        asset = http.post(f"/{offer['asset']}/complete").json()
        http.delete(f"/{offer['asset']}")

        assert http.get(f"/{offer['asset']}").status_code == 404
        assert httpx.get(asset["url"]).status_code == 404


def test_a_full_function_says_so(start, key):
    """More requests than a function has places for are answered 429 with Retry-After, while its health still answers."""
    function = start("status", MAX_INFLIGHT="0")
    with client(function, key) as http:
        answer = http.get("/")

        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert http.get("/_/health").status_code == 200
        assert http.get("/_/ready").status_code == 429


def test_a_missing_setting_is_one_sentence(environment, tmp_path):
    """A function that lacks a setting does not start, and says which one."""
    lacking = {name: value for name, value in environment.items() if name != "S3_ENDPOINT"}
    with pytest.raises(AssertionError, match="S3_ENDPOINT"), Function("status", lacking, tmp_path / "log"):
        pass
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_database_that_is_away_is_503(environment, tmp_path):
    """A function whose database does not answer says 503 and when to come again, and nothing about where it is."""
    with Function("status", {**environment, "DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/x"}, tmp_path / "log") as function:
        answer = httpx.get(f"{function.url}/", headers={"Authorization": "Bearer nve_x"}, timeout=30)

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "127.0.0.1" not in answer.text
    assert "secret" not in function.log()


def test_sigterm_ends_an_idle_function_at_once(start):
    """A function that has nothing to do ends within a second of SIGTERM, with exit code 0."""
    function = start("status")
    function.signal(signal.SIGTERM)

    assert function.process.wait(3) == 0
