"""The app around its routes: who may ask, and what every answer looks like."""

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from gistchat.server.app import create_app
from gistchat.server.security import host_name, namespace_of
from gistchat.server.settings import ServeSettings

KEY = "a-key-for-tests"


def client(**changes) -> TestClient:
    app = create_app(ServeSettings(**changes), None, None)

    @app.get("/v1/namespace")
    async def namespace(request: Request) -> str:
        return request.state.namespace

    @app.post("/v1/echo")
    async def echo(body: dict) -> dict:
        return body

    @app.get("/v1/broken")
    async def broken() -> None:
        raise RuntimeError("what somebody said")

    return TestClient(app, base_url="http://127.0.0.1:8760")


def test_health_is_told_without_a_key_and_everything_else_is_not():
    with client(api_keys=(KEY,)) as http:
        assert http.get("/health").json()["status"] == "ok"
        for path in ("/v1/namespace", "/openapi.json", "/nowhere"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert http.get(path, headers={"Authorization": "Bearer other-key-here"}).status_code == 401


def test_each_key_has_a_namespace_of_its_own():
    with client(api_keys=(KEY, "another-key")) as http:
        names = {
            http.get("/v1/namespace", headers={"Authorization": f"{kind} {key}"}).json()
            for key in (KEY, "another-key")
            for kind in ("Bearer", "bearer")
        }
        assert names == {namespace_of(KEY), namespace_of("another-key")}
        assert KEY not in str(names)
    with client() as http:
        assert http.get("/v1/namespace").json() == ""


@pytest.mark.parametrize("host", ["127.0.0.1:8760", "localhost", "LOCALHOST:1", "[::1]:8760", "chat.example:443"])
def test_names_of_this_server(host):
    with client(allowed_hosts=("chat.example",)) as http:
        assert http.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "localhost@evil.example"])
def test_other_names_are_refused(host):
    with client() as http:
        answer = http.get("/health", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


def test_bound_to_all_addresses_a_number_is_no_rebound_name():
    with client(host="0.0.0.0", api_keys=(KEY,)) as http:
        assert http.get("/health", headers={"Host": "10.0.0.7:8760"}).status_code == 200
        assert http.get("/health", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8760", 200),
        ("https://front.example", 200),
        ("http://127.0.0.1:9999", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_hosts_may_not_ask(origin, status):
    with client(allowed_origins=("https://front.example",)) as http:
        answer = http.post("/v1/echo", json={}, headers={"Origin": origin})
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        assert http.options("/v1/echo", headers={"Origin": origin}).status_code == (204 if status == 200 else 403)


def test_every_answer_says_what_a_page_may_do():
    with client() as http:
        for answer in (http.get("/health"), http.get("/nowhere"), http.get("/health", headers={"Host": "evil"})):
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert http.get("/v1/namespace").headers["cache-control"] == "no-store"


def test_slashes_heads_and_other_methods():
    with client() as http:
        assert http.get("/v1/namespace/").status_code == 200
        assert http.get("/v1//namespace").status_code == 200
        head = http.head("/v1/namespace")
        assert (head.status_code, head.content) == (200, b"")
        answer = http.delete("/v1/namespace")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET"


def test_a_defect_is_told_without_what_was_said(caplog):
    with client() as http:
        answer = http.get("/v1/broken")
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "somebody" not in answer.text + caplog.text
        assert "RuntimeError at broken" in caplog.text


def test_bodies_that_are_none():
    with client(body_bytes=1000) as http:
        for body in (b"{", b"", b"[1]", b'"x"', b"[" * 900, b"\xff", b"1" * 900):
            answer = http.post("/v1/echo", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400, body
            assert answer.json()["error"]["type"] == "invalid_request_error"
        assert http.post("/v1/echo", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 400
        for body in (
            b"{}" + b" " * 1000,
            iter([b"{}", b" " * 1000]),
        ):  # of a length that is told, and of one that is not
            answer = http.post("/v1/echo", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_host_names():
    assert host_name("[::1]:80") == "::1"
    assert host_name("chat.example.:80") == "chat.example"
    assert host_name("a b") == ""


def test_the_description_has_no_answer_that_is_never_given():
    with client() as http:
        described = http.get("/openapi.json").json()
        answers = described["paths"]["/v1/chat/completions"]["post"]["responses"]
        assert {"200", "400", "401", "403", "404", "413", "429", "503"} <= set(answers)
        assert "422" not in answers
        assert "HTTPValidationError" not in str(described)
