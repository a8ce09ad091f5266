"""Who is let in, what is logged of it, and what bodies are read: the real app, without engines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from actors.serving.errors import ApiError
from actors.serving.http import build_http_app
from actors.serving.key_limits import KeyLimit
from actors.serving.keys import Keyring, read_keys
from actors.serving.request_history import HistoryUpdate
from deepprune.errors import UserError
from deepprune.serve_config import HttpConfig
from tests.support.synthetic_endpoint import service

ASK = {"model": "voted", "messages": [{"role": "user", "content": "Which way?"}]}


# --- keys -----------------------------------------------------------------------------------


def test_keys_come_from_a_file_and_from_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text("# ours\nfirst\n\n  second \n")
    monkeypatch.setenv("KEYS", "third, fourth,")
    keys = read_keys(HttpConfig(api_keys_file=path, api_keys_env="KEYS"))
    owners = {keys.owner(f"Bearer {key}") for key in ("first", "second", "third", "fourth")}
    assert len(owners) == len(keys) == 4 and None not in owners
    assert not any(key in owner for owner in owners for key in ("first", "second", "third"))
    assert keys.owner("bearer first") is not None
    for wrong in (None, "", "first", "Bearer ", "Bearer # ours", "Basic first", "Bearer firs"):
        assert keys.owner(wrong) is None


@pytest.mark.parametrize("text", ["", "\n# nothing\n"])
def test_keys_that_are_asked_for_must_be_there(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UserError, match="there is none"):
        read_keys(HttpConfig(api_keys_file=path))
    with pytest.raises(UserError, match="cannot read"):
        read_keys(HttpConfig(api_keys_file=tmp_path / "absent"))
    with pytest.raises(UserError):
        read_keys(HttpConfig(api_keys_env="DEEPPRUNE_NO_SUCH_VARIABLE"))


def test_without_keys_anybody_is_one_owner():
    assert Keyring([]).owner(None) == Keyring([]).owner("Bearer x") == "anybody"


# --- access -------------------------------------------------------------------------------------


class Knocker:
    """The app of one ingress replica, and its log."""

    def __init__(self, folder: Any, keys: list[str], tokens_per_s: float = 100_000) -> None:
        stand = self.service = service(folder, keys, tokens_per_s)
        self.app = build_http_app(stand)
        self.log = stand.config.http.request_log
        self.routes = [route for route in self.app.app.routes if isinstance(route, APIRoute)]

    async def knock(
        self,
        path: str,
        method: str = "GET",
        client: str = "127.0.0.1",
        prefix: str = "",
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(client, 1), root_path=prefix)
        base_url = f"http://localhost:8000{prefix}"
        headers = options.pop("headers", {})
        if key is not None:
            headers |= {"Authorization": f"Bearer {key}".encode("latin-1")}
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as web:
            return await web.request(method, path, headers=headers, **options)

    @property
    def last_line(self) -> Any:
        return json.loads(self.log.read_text().splitlines()[-1])


@pytest.fixture
def guarded(tmp_path) -> Knocker:
    return Knocker(tmp_path, ["sesame"])


@pytest.fixture
def local(tmp_path) -> Knocker:
    return Knocker(tmp_path, [])


@pytest.mark.parametrize("prefix", ["", "/llm", "/v1", "/healthz", "/a/b"])
async def test_whoever_has_no_key_is_kept_out_of_all_but_the_page(guarded, prefix):
    opened = set()
    for route in guarded.routes:
        path = route.path.replace("{", "").replace("}", "").replace(":path", "")
        for method in route.methods:
            body = {"json": ASK} if method == "POST" else {}
            for key in (None, "", "wrong", "é"):
                response = await guarded.knock(path, method, prefix=prefix, key=key, **body)
                if response.status_code == 401:
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert response.json()["error"]["code"] == "invalid_api_key"
                    assert guarded.last_line["status"] == 401
                else:
                    opened.add(route.path)
    assert opened == {"/", "/{file}", "/healthz"}


@pytest.mark.parametrize("prefix", ["", "/llm"])
async def test_whoever_has_a_key_is_let_in(guarded, prefix):
    response = await guarded.knock("/v1/models", client="192.0.2.7", key="sesame", prefix=prefix)
    assert response.status_code == 200
    line = guarded.last_line
    assert line["status"] == 200 and line["path"] == "/v1/models"
    assert line["key"].startswith("key-") and "sesame" not in json.dumps(line)
    assert response.headers["content-security-policy"].startswith("default-src 'self'")
    asked = await guarded.knock("/v1/chat/completions", "POST", json=ASK, key="sesame")
    assert asked.status_code == 200 and guarded.last_line["model"] == "voted"


async def test_without_keys_only_this_machine_is_let_in(local):
    for client, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("", 403)):
        for path in ("/v1/models", "/healthz", "/"):
            response = await local.knock(path, client=client)
            assert response.status_code == status, client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "["}, 403),
    ],
    ids=str,
)
async def test_without_keys_no_page_of_another_site_is_let_in(local, guarded, headers, status):
    response = await local.knock("/v1/models", headers={**headers})
    assert response.status_code == status
    response = await guarded.knock("/v1/models", key="sesame", headers={**headers})
    assert response.status_code == 200, "a key is proof enough"


def test_a_key_holds_so_many_places_and_no_more():
    limit = KeyLimit(2, "event streams are open")
    with limit.place("a"), limit.place("a"), limit.place("b"):
        with pytest.raises(ApiError, match="2 event streams are open") as refused:
            limit.place("a").__enter__()
        assert refused.value.status == 429
    with limit.place("a"):
        pass


# --- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe", 400),
        (b'{"model": "\xff"}', 400),
        (b"[" * 50_000, 400),
        (b'{"a":' * 15_000, 400),
        (b"1" * 50_000, 400),
        (b"x" * 100_001, 413),
    ],
    ids=lambda raw: repr(raw)[:20],
)
async def test_what_is_no_json_object_is_said_to_be_none(guarded, raw, status):
    headers = {"Content-Type": "application/json"}
    path = "/v1/chat/completions"
    response = await guarded.knock(path, "POST", key="sesame", content=raw, headers=headers)
    error = response.json()["error"]
    expected = "invalid_json" if status == 400 else "body_too_large"
    assert (response.status_code, error["code"]) == (status, expected), error


@pytest.mark.parametrize("raw", [b'{"temperature": NaN}', b'{"model": "\\ud800"}'])
async def test_what_json_cannot_hold_is_refused(guarded, raw):
    headers = {"Content-Type": "application/json"}
    path = "/v1/chat/completions"
    response = await guarded.knock(path, "POST", key="sesame", content=raw, headers=headers)
    assert response.status_code == 400


async def test_a_body_of_another_type_is_refused(guarded):
    headers = {"Content-Type": "text/plain"}
    path = "/v1/chat/completions"
    response = await guarded.knock(path, "POST", key="sesame", content=b"a", headers=headers)
    assert response.status_code == 415


@given(raw=st.binary(max_size=200))
async def test_any_bytes_are_refused_in_good_order(tmp_path_factory, raw):
    guarded = Knocker(tmp_path_factory.mktemp("raw"), ["sesame"])
    headers = {"Content-Type": "application/json"}
    path = "/v1/chat/completions"
    response = await guarded.knock(path, "POST", key="sesame", content=raw, headers=headers)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


# --- cancelling ---------------------------------------------------------------------------------


async def test_a_request_is_cancelled_by_its_id_and_only_by_its_owner(tmp_path):
    guarded = Knocker(tmp_path, ["sesame", "other"], tokens_per_s=100)
    ask = ASK | {"messages": [{"role": "user", "content": "Is it slow?"}]}
    waiting = asyncio.create_task(
        guarded.knock("/v1/chat/completions", "POST", key="sesame", json=ask)
    )
    for _ in range(10_000):
        if guarded.service.running:
            break
        await asyncio.sleep(0.01)
    (request_id,) = guarded.service.running
    path = f"/v1/deepprune/requests/{request_id}"
    foreign = await guarded.knock(path, "DELETE", key="other")
    assert foreign.status_code == 404
    ours = await guarded.knock(path, "DELETE", key="sesame")
    assert ours.json() == {
        "id": request_id,
        "object": "deepprune.request",
        "status": "cancelling",
    }
    answer = (await waiting).json()
    assert answer["deepprune"]["stop_reason"] == "cancelled"
    assert not answer["deepprune"]["complete"]


async def test_a_request_that_the_history_learns_of_late_is_cancelled_all_the_same(guarded):
    path = "/v1/deepprune/requests/elsewhere"
    cancelling = asyncio.create_task(guarded.knock(path, "DELETE", key="sesame"))
    await asyncio.sleep(0.01)
    owner = Keyring(["sesame"]).owner("Bearer sesame")
    assert owner is not None
    update = HistoryUpdate("elsewhere", owner, {"status": "running"})
    assert await guarded.service.history.write.remote([update], ["elsewhere"]) == []
    assert (await cancelling).json()["status"] == "cancelling"
    assert await guarded.service.history.write.remote([], ["elsewhere"]) == ["elsewhere"]
