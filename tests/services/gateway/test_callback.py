"""Results of asynchronous calls, posted to where their callers want them."""

import datetime
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.services.gateway.conftest import until

QUICK = {"QUEUE_BACKOFF_SECONDS": "0.05", "QUEUE_MAX_BACKOFF_SECONDS": "0.1"}


class Receiver:
    """Somebody's web server. It answers with `codes`, one after the other, and then 200."""

    def __init__(self, *codes):
        self.got, codes = [], list(codes)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.got.append((handler.path, dict(handler.headers), body))
                code = codes.pop(0) if codes else 200
                handler.send_response(code)
                if code == 302:
                    handler.send_header("Location", "/elsewhere")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            do_GET = do_POST

            def log_message(handler, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def trusting(servers, tmp_path_factory):
    """A gateway whose operator allows private addresses."""
    from tests.services.gateway.conftest import FUNCTIONS, Gateway

    variables = {"GATEWAY_CALLBACK_PRIVATE": "1", "QUEUE_MAX_DELIVERIES": "2", **QUICK}
    running = Gateway(tmp_path_factory.mktemp("trusting") / "trusting", servers.home.environment()["REDIS_URL"], FUNCTIONS, **variables)
    yield running
    running.close()


def ask(gateway, path, url, call):
    return gateway.client.post(f"/async-function/{path}", content=b"hello", headers={"X-Callback-Url": url, "X-Call-Id": call})


def test_the_result_is_posted(trusting):
    """The receiver gets the function's body and type, and OpenFaaS's four headers about the call."""
    with Receiver() as receiver:
        ask(trusting, "echo/where", f"{receiver.url}/hook?id=7", "told")
        path, headers, body = until(lambda: receiver.got, "the result")[0]

    assert path == "/hook?id=7"
    assert json.loads(body)["body"] == "hello"
    assert [headers[name] for name in ("X-Call-Id", "X-Function-Status", "X-Function-Name", "Content-Type")] == [
        "told",
        "200",
        "echo",
        "application/json",
    ]
    assert 0 < float(headers["X-Duration-Seconds"]) < 15
    assert "X-Callback-Url" not in dict(json.loads(body)["headers"])


def test_a_refusal_is_a_result(trusting):
    """The caller hears of a 422 as well."""
    with Receiver() as receiver:
        ask(trusting, "echo/code/422/range_empty", receiver.url, "refused")
        _, headers, body = until(lambda: receiver.got, "the result")[0]

    assert [headers["X-Function-Status"], json.loads(body)["code"]] == ["422", "range_empty"]


def test_giving_up_is_a_result(trusting):
    """When the call was given up the caller hears 503, once."""
    with Receiver() as receiver:
        ask(trusting, "pair/code/502", receiver.url, "given-up")
        _, headers, body = until(lambda: receiver.got, "the result")[0]

    assert [headers["X-Function-Status"], json.loads(body)["code"]] == ["503", "function_unavailable"]


def test_a_receiver_gets_another_chance(trusting):
    """503 and 500 are tried again; the call itself is not."""
    with Receiver(503, 500) as receiver:
        ask(trusting, "echo", receiver.url, "patient")
        until(lambda: len(receiver.got) == 3, "three tries")

    assert len(trusting.notes("begin", call="patient")) == 1
    assert {headers["X-Call-Id"] for _, headers, _ in receiver.got} == {"patient"}


def test_redirects_are_not_followed(trusting):
    """A redirect is the oldest way around a checked address."""
    failed = trusting.metric("gateway_callbacks_total", outcome="failed")
    with Receiver(302) as receiver:
        ask(trusting, "echo", receiver.url, "redirected")
        until(lambda: trusting.metric("gateway_callbacks_total", outcome="failed") == failed + 1, "the end of it")

    assert [path for path, _, _ in receiver.got] == ["/"]


def test_a_silent_receiver_does_not_hold_up_the_queue(trusting):
    """While one receiver does not answer, other calls are delivered and other results posted."""
    with Receiver() as receiver, ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        ask(trusting, "echo", f"http://127.0.0.1:{silent.server_address[1]}", "silent")
        ask(trusting, "echo", receiver.url, "quick")

        assert until(lambda: receiver.got, "the other result", within=5)


def certificate(name, folder):
    """A certificate that signs itself, for one name, as server's file; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(hours=1)
    )
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "authority.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(private + pem)


def test_the_certificate_must_be_the_names(start, tmp_path):
    """The connection goes to the checked address, and its certificate must still be that of the name in the address."""
    certificate("localhost", tmp_path)
    gateway = start(GATEWAY_CALLBACK_PRIVATE="1", SSL_CERT_FILE=str(tmp_path / "authority.pem"), **QUICK)
    with Receiver() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
        ask(gateway, "echo", receiver.url.replace("http", "https"), "other-name")
        until(lambda: gateway.metric("gateway_callbacks_total", outcome="failed") == 1, "a failure")
        ask(gateway, "echo", receiver.url.replace("http://127.0.0.1", "https://localhost"), "its-name")
        until(lambda: receiver.got, "the result")

        assert [headers["X-Call-Id"] for _, headers, _ in receiver.got] == ["its-name"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://user:secret@example.com/",
        "http:///nowhere",
        "http://example.com:0/",
        "not an address",
    ],
)
def test_an_address_that_is_not_public_is_refused_at_once(gateway, url):
    """Loopback, private, link-local and odd addresses get 400 before anything is queued."""
    answer = ask(gateway, "echo", url, "ssrf")

    assert [answer.status_code, answer.json()["code"], answer.json()["field"]] == [400, "invalid_request", "X-Callback-Url"]
    assert gateway.notes("begin", call="ssrf") == []


@pytest.mark.parametrize("host", ["localhost", "0x7f000001", "127.1", "2130706433"])
def test_a_name_of_a_private_address_is_refused_when_it_is_resolved(start, host):
    """A name, or a number in disguise, is looked up, found private, and never connected to."""
    gateway = start(**QUICK)
    with Receiver() as receiver:
        ask(gateway, "echo", receiver.url.replace("127.0.0.1", host), "disguised")
        until(lambda: gateway.metric("gateway_callbacks_total", outcome="refused") == 1, "a refusal")

        assert receiver.got == []
    with redis.Redis.from_url(gateway.redis_url) as client:
        letters = [fields for _, fields in client.xrange(f"{gateway.folder.name}:dead:callbacks:")]
    assert b"not on the public network" in letters[0][b"reason"]
