"""Requests that mean harm or are broken: none stops the server, and none reads outside of the catalogue."""

import asyncio
import io
import json
import socket
import struct
import time
import zlib

import httpx
import pytest
from PIL import Image
from running_server import running

from pipeline_lib.serving import server
from pipeline_lib.serving.limits import Limits

LIMITS = Limits(upload_bytes=300_000, other_bytes=20_000, body_seconds=1.0, answer_seconds=20.0, waiting=16, uploads=2)


@pytest.fixture(scope="module")
def hostile(service):
    """A server with low limits; its address, and a client."""
    before, server.HEADER_SECONDS = server.HEADER_SECONDS, 1.0
    with running(service, LIMITS) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
        assert client.get("/health").json()["status"] == "ok"
    server.HEADER_SECONDS = before


@pytest.fixture(autouse=True)
def alive(hostile):
    """After each test the server answers, and a search gives products."""
    yield
    assert len(hostile.get("/api/search", params={"q": "red mug", "k": 3}).json()["results"]) == 3


def code_of(response):
    error = response.json()["error"]
    assert "\n" not in error["message"] and "Traceback" not in response.text and "/tmp/" not in response.text
    return response.status_code, error["code"]


def raw(url: httpx.URL, data: bytes, wait: float = 10.0) -> bytes:
    """Send bytes as they are, and return all that comes back until the server closes."""
    with socket.create_connection((url.host, url.port), timeout=wait) as connection:
        connection.sendall(data)
        parts = []
        try:
            while part := connection.recv(65_536):
                parts.append(part)
        except (TimeoutError, ConnectionResetError):
            pass
    return b"".join(parts)


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/page.css/../../../../pyproject.toml",
        "/static/..%5c..%5cparams.yaml",
        "/%00/etc/passwd",
        "/params.yaml",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(path, hostile):
    sent = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    answer = raw(hostile.base_url, sent.encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"root:" not in answer and b"plan:" not in answer


@pytest.mark.parametrize(
    "product", ["../../../etc/passwd", "/etc/passwd", "p0/../p1", "file:///etc/passwd", "%00", "p0\x00"]
)
@pytest.mark.parametrize("route", ["/api/photo", "/api/product"])
def test_no_id_leads_to_a_file(product, route, hostile):
    assert code_of(hostile.get(route, params={"id": product})) == (404, "no_product")


@pytest.mark.parametrize(
    "asked",
    [
        {"q": "mug", "k": "-1"},
        {"q": "mug", "k": "1e9"},
        {"q": "mug", "k": "many"},
        {"q": "mug", "min_score": "nan"},
        {"q": "mug", "model": "7"},
        {"q": "mug", "surprise": "1"},
        {"q": "m" * 1_001},
        {"q": "mug", "range": "price:low:high"},
        {"q": "mug", "range": "price:nan:"},
        {"q": "mug", "range": "price"},
        {"q": "mug", "range": "__class__:0:1"},
        {"q": "mug", "category": "' OR 1=1 --"},
        {"q": " \u200b "},
        {},
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_one_line(asked, hostile):
    response = hostile.get("/api/search", params=asked)
    assert code_of(response)[0] == 422


def test_a_model_that_is_not_there(hostile, service):
    (second := service.opened)[1]
    service.opened = second[:1]
    try:
        assert code_of(hostile.get("/api/search", params={"q": "mug", "model": 1})) == (404, "no_model")
    finally:
        service.opened = second


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\u202e\ud7ff mug", "mug'; DROP TABLE", "🫖" * 200, "a " * 500]
)
def test_odd_words_are_words(text, hostile):
    response = hostile.get("/api/search", params={"q": text})
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"


def test_a_url_of_a_megabyte_is_refused(hostile):
    answer = raw(hostile.base_url, b"GET /api/search?q=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 503"))


def test_headers_that_never_end_are_cut(hostile):
    start = time.monotonic()
    assert raw(hostile.base_url, b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ") == b""
    assert time.monotonic() - start < 9


def test_a_connection_that_says_nothing_is_cut(hostile):
    assert raw(hostile.base_url, b"") == b""


def test_garbage_is_no_request(hostile):
    assert raw(hostile.base_url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)).startswith(
        b"HTTP/1.1 400"
    )


def post_head(length: int | None, kind: str = "multipart/form-data; boundary=x") -> bytes:
    size = b"transfer-encoding: chunked" if length is None else f"content-length: {length}".encode()
    return (
        b"POST /api/search HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: " + kind.encode() + b"\r\n" + size + b"\r\n\r\n"
    )


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read(hostile):
    start = time.monotonic()
    answer = raw(hostile.base_url, post_head(50_000_000_000))
    assert answer.startswith(b"HTTP/1.1 413") and b"too_large" in answer
    assert time.monotonic() - start < 9


def test_a_body_of_unknown_length_is_cut_at_the_limit(hostile):
    chunk = b"%x\r\n" % 50_000 + b"a" * 50_000 + b"\r\n"
    assert b" 413 " in raw(hostile.base_url, post_head(None) + chunk * 8)


def test_a_large_body_without_a_picture_is_refused(hostile):
    response = hostile.post("/api/judgements", content=b" " * 21_000, headers={"content-type": "application/json"})
    assert code_of(response) == (413, "too_large")


def test_a_slow_body_gets_no_more_time(hostile):
    start = time.monotonic()
    answer = raw(hostile.base_url, post_head(1_000) + b"--x\r\n")
    assert answer.startswith(b"HTTP/1.1 408") and b"slow" in answer
    assert time.monotonic() - start < 9


def test_a_body_that_ends_early_harms_nobody(hostile):
    with socket.create_connection((hostile.base_url.host, hostile.base_url.port)) as connection:
        connection.sendall(post_head(1_000) + b"--x\r\ncontent-disp")


def picture(data, hostile, name="a.jpg"):
    return hostile.post("/api/search", files={"picture": (name, data, "image/jpeg")})


def encoded(size=(40, 40), kind="JPEG"):
    stream = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(stream, kind)
    return stream.getvalue()


def bomb(width=60_000, height=60_000):
    """A PNG of 3.6 thousand million pixels in a few hundred bytes: only its header is true."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000)))
        + chunk(b"IEND", b"")
    )


def test_a_picture_bomb_is_refused_by_its_header(hostile):
    start = time.monotonic()
    assert code_of(picture(bomb(), hostile)) == (413, "too_many_pixels")
    assert code_of(picture(bomb(2_000, 1_000), hostile)) == (413, "too_many_pixels")
    assert time.monotonic() - start < 9


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(run) print",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"GIF89a" + bytes(20),
        b"\xff\xd8\xff\xe0" + bytes(500),
        encoded(kind="PNG")[:200],
    ],
    ids=["empty", "text", "postscript", "svg", "gif", "jpeg", "truncated"],
)
def test_what_is_no_picture_is_one_line(data, hostile):
    assert code_of(picture(data, hostile)) == (415, "bad_picture")


def test_the_name_of_a_picture_is_not_used(hostile):
    assert picture(encoded(), hostile, "../../../etc/passwd").status_code == 200


def test_wrong_types_and_methods_are_refused(hostile):
    as_json, as_form = {"content-type": "application/json"}, {"content-type": "multipart/form-data; boundary=x"}
    assert code_of(hostile.post("/api/search", json={"q": "mug"}))[0] == 422
    assert code_of(hostile.post("/api/search", data={"picture": "no file", "q": "mug"}))[0] == 422
    assert code_of(hostile.post("/api/judgements", content=b"{", headers=as_json))[0] == 422
    assert code_of(hostile.post("/api/judgements", content=b"[" * 19_000, headers=as_json))[0] in (400, 422)
    assert code_of(hostile.delete("/api/search")) == (405, "wrong_method")
    assert code_of(hostile.put("/api/judgements", json={})) == (405, "wrong_method")
    assert code_of(hostile.post("/api/search", content=b"--y\r\n", headers=as_form))[0] in (400, 422)
    many = {f"q{number}": "x" for number in range(1_500)}
    assert code_of(hostile.post("/api/search", data=many, files={"picture": encoded()}))[0] in (400, 422)


def test_a_judgement_of_another_site_is_refused(hostile, service):
    judged = {"query": "red mug", "product_id": "p0", "grade": 1}
    other = hostile.post("/api/judgements", json=judged, headers={"origin": "http://example.org"})
    assert code_of(other) == (403, "wrong_origin")
    # A form of another site needs no permission to send text.
    assert (
        hostile.post("/api/judgements", content=json.dumps(judged), headers={"content-type": "text/plain"}).status_code
        == 422
    )
    assert code_of(hostile.post("/api/judgements", json=judged | {"grade": 5}))[0] == 422
    assert code_of(hostile.post("/api/judgements", json=judged | {"product_id": "../x"})) == (404, "no_product")
    assert service.judgements.of_query("red mug") == {}


def test_a_name_that_points_here_from_elsewhere_is_refused(hostile):
    assert code_of(hostile.get("/api/catalogue", headers={"host": "attacker.example:80"})) == (421, "wrong_host")
    assert hostile.get("/api/catalogue", headers={"host": "localhost:1234"}).status_code == 200


async def _one_of_many(url: httpx.URL, number: int) -> bytes:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    asked = f"GET /api/search?k=3&q=red+mug+{number} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    writer.write(asked.encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


def test_a_thousand_at_once_are_all_answered(hostile, monkeypatch):
    """Some get 503 with Retry-After; none an error of the server, and none waits for ever."""
    monkeypatch.setattr(server, "HEADER_SECONDS", 60.0)  # a thousand clients of one process are slow themselves

    async def all_of_them():
        return await asyncio.gather(*(_one_of_many(hostile.base_url, number) for number in range(1_000)))

    answers = asyncio.run(all_of_them())
    served = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    assert served and len(served) + len(refused) == 1_000
    assert all(len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"]) == 3 for answer in served)
    assert all(b"retry-after: 1\r\n" in answer and b'"code": "busy"' in answer for answer in refused)
    assert 'vitrine_requests_total{path="/api/search",status="200"}' in hostile.get("/metrics").text
