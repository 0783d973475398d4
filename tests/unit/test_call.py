"""A call as the functions see it."""

import uuid
from types import SimpleNamespace

import pytest
from werkzeug.datastructures import Headers

from native import errors
from native.call import Call, bearer, call_id


def event(body=b"{}", query=None, **headers):
    return SimpleNamespace(
        body=body, query=query or {}, headers=Headers({name.replace("_", "-"): value for name, value in headers.items()})
    )


def call(it, id="c1", owners=None):
    services = SimpleNamespace(
        keys=SimpleNamespace(owner_of=(owners or {}).get),
        settings=SimpleNamespace(max_body_bytes=100),
    )
    return Call(event=it, services=services, id=id)


BEARERS = {
    "Bearer nve_1": "nve_1",
    "bearer  nve_1 ": "nve_1",
    "Basic nve_1": None,
    "nve_1": None,
    "Bearer": None,
    "Bearer  ": None,
    "": None,
}


@pytest.mark.parametrize(("header", "key"), BEARERS.items())
def test_the_key_of_a_bearer(header, key):
    """Only `Bearer KEY` shows a key; the scheme may be written in any case."""
    assert bearer(event(Authorization=header)) == key
    assert bearer(event()) is None


def test_nobody_is_an_owner_until_a_key_has_shown_it():
    """Asking for the owner is refused before authentication, after a wrong key, and without one."""
    known = call(event(Authorization="Bearer nve_1"), owners={"nve_1": "me"})
    with pytest.raises(errors.Problem) as early:
        _ = known.owner
    known.authenticate()
    refused = []
    for stranger in (call(event(Authorization="Bearer nve_2"), owners={"nve_1": "me"}), call(event(), owners={None: "me"})):
        with pytest.raises(errors.Problem) as caught:
            stranger.authenticate()
        refused.append(caught.value.kind)

    assert known.owner == "me"
    assert [early.value.kind, *refused] == [errors.UNAUTHENTICATED] * 3


def test_a_given_key_is_the_clients_own():
    """The same Idempotency-Key is the same, whatever the call and the body."""
    given = [call(event(Idempotency_Key="mine"), id=id).idempotency_key(body) for id, body in (("a", {"x": 1}), ("b", {"x": 2}))]

    assert given == ["key:mine", "key:mine"]


def test_without_a_key_a_call_and_its_body_are_one_request():
    """A queue that delivers a call again delivers the same request; another call, or another body, is another one."""

    def key(id, body):
        return call(event(), id=id).idempotency_key(body)

    assert key("a", {"x": 1, "y": "2"}) == key("a", {"y": "2", "x": 1})
    assert len({key("a", {"x": 1}), key("b", {"x": 1}), key("a", {"x": "1"}), key("a", {"x": 1.0}), "key:a"}) == 5


@pytest.mark.parametrize("given", ["", "x" * 201, "a\tb"])
def test_a_key_that_cannot_be_one_is_refused(given):
    """An empty key, one of more than 200 characters and one that cannot be printed are refused by name."""
    with pytest.raises(errors.Problem) as caught:
        call(event(Idempotency_Key=given)).idempotency_key({})

    assert (caught.value.kind, caught.value.field) == (errors.INVALID_REQUEST, "Idempotency-Key")
    assert call(event(Idempotency_Key="x" * 200)).idempotency_key({}) == "key:" + "x" * 200


@pytest.mark.parametrize("given", ["", "a b", "x" * 101, "a/b", "a\u00e9"])
def test_a_call_has_an_id_of_its_own_when_the_given_one_will_not_do(given):
    """The gateway's id is kept; anything that is not plain is replaced by a new one."""
    made = call_id(event(X_Call_Id=given))

    assert call_id(event(X_Call_Id="a-1.B_2")) == "a-1.B_2"
    assert str(uuid.UUID(made)) == made


@pytest.mark.parametrize(
    ("prefer", "later"),
    [
        ("respond-async", True),
        ("Respond-Async; x=1", True),
        ("wait=10, respond-async", True),
        ("respond-asynchronously", False),
        ("", False),
    ],
)
def test_prefer_is_read_as_a_list(prefer, later):
    """`respond-async` counts wherever it stands in the list, and nothing that only looks like it."""
    assert call(event(Prefer=prefer)).prefers_async() is later


def test_a_number_in_the_query():
    """A number has bounds and a default; what is none is refused by its name."""
    given = [call(event(query={"wait": text})).number("wait", 1, 60) for text in ("0", "2.5", "999")]
    refused = []
    for text in ("-1", "1e3", "nan", "", "\u0661", "1" * 10):
        with pytest.raises(errors.Problem) as caught:
            call(event(query={"wait": text})).number("wait", 1, 60)
        refused.append((caught.value.kind, caught.value.field))

    assert given == [0, 2.5, 60]
    assert call(event()).number("wait", 1, 60) == 1
    assert set(refused) == {(errors.INVALID_REQUEST, "wait")}
