"""Named hostile requests, each sent to a real server."""

import gzip
import json
import re
import socket
import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.hostile.conftest import MAX_BODY_BYTES
from tests.acceptance.hostile.wire import KEY, Answer, Connection, Contract, RawRequest, post
from tests.support.polling import wait_until
from tests.support.server_process import CLUSTER, metric, peak_megabytes, processor_seconds

pytestmark = pytest.mark.server

Ask = Callable[[RawRequest], Answer]
MEGABYTE = 1_000_000
FULL = MAX_BODY_BYTES - 100


@pytest.fixture
def ask(connection: Connection, contract: Contract) -> Ask:
    """A function that sends a request and checks the response against the OpenAPI document."""

    def ask(sent: RawRequest) -> Answer:
        answer = connection.ask(sent)
        contract.check(sent.method, sent.target.decode().split("?")[0], answer)
        return answer

    return ask


def detail(answer: Answer) -> str:
    return str(answer.json()["detail"])


TEXTS = {
    "one word": "a" * MEGABYTE,
    "markup": "<div><b>" * 60_000,
    "entities": "&lol9;" * 90_000,
    "NUL": "Koch\0" * 1000,
    "control characters": "".join(map(chr, range(1, 32))) * 100,
    "emoji": "👩‍🍳🧑🏿‍🚀" * 2000,
    "right to left": "\u202eطباخ\u202c Koch " * 1000,
    "combining marks": "a" + "\u0301" * 50_000,
    "zero width": "Koch\u200b" * 10_000,
    "many after normalization": "\ufdfa" * 100_000,
    "no character": "\ufffe\uffff\U0010ffff" * 1000,
    "special tokens": "[CLS][SEP][PAD]</s><mask>" * 1000,
    "template": "{{7*7}}${7*7}%s%n{0}" * 1000,
}


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("name", TEXTS)
def test_any_text_is_classified(ask: Ask, name: str, escaped: bool) -> None:
    text = TEXTS[name]
    body = {"text": text, "title": text[:5000], "id": text[:200]}
    answer = ask(post(json.dumps(body, ensure_ascii=escaped).encode()))
    assert answer.status == 200
    assert answer.json()["id"] == text[:200]
    # All are longer than four windows of 64 tokens, and the cut is reported.
    assert answer.json()["truncated"] is True


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_as_html_is_classified_or_refused(ask: Ask, name: str) -> None:
    for form in ("html", "auto"):
        answer = ask(post({"text": TEXTS[name], "format": form}))
        assert answer.status in (200, 422)
        assert answer.status == 200 or "shows no text" in detail(answer)


@pytest.mark.parametrize("place", ["text", "title", "id", "unknown"])
@pytest.mark.parametrize("half", [r"\ud800", r"\udfff", r"\udc00\ud800"])
def test_lone_surrogate_is_refused_in_every_field(ask: Ask, place: str, half: str) -> None:
    fields = {"text": '"Koch"', place: f'"a{half}b"'}
    if place == "unknown":
        fields = {"text": '"Koch"', half: "1"}
    body = ", ".join(f'"{name}": {value}' for name, value in fields.items())
    assert ask(post(b"{%s}" % body.encode())).status == 422


MALFORMED = {
    "nothing": b"",
    "half": b'{"text": "Koch"',
    "two": b'{"text": "Koch"}{"text": "Koch"}',
    "latin-1": '{"text": "Köchin"}'.encode("latin-1"),
    "utf-16": '{"text": "Koch"}'.encode("utf-16"),
    "half a letter": b'{"text": "K\xc3"}',
    "overlong": b'{"text": "\xc0\xaf"}',
    "a surrogate's bytes": b'{"text": "\xed\xa0\x80"}',
    "NUL": b'{"text": "a\0b"}',
    "NaN": b'{"text": "Koch", "top_k": NaN}',
    "infinity": b'{"text": "Koch", "top_k": -Infinity}',
    "a number of 5000 digits": b'{"text": "Koch", "top_k": %s}' % (b"9" * 5000),
    "too deep": b'{"text": ' + b"[" * 1100 + b"]" * 1100 + b"}",
    "form": b"text=Koch",
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("path", [b"/classify", b"/classify/batch", b"/classify/jobposting"])
def test_malformed_json_gets_400(ask: Ask, name: str, path: bytes) -> None:
    answer = ask(post(MALFORMED[name], path))
    assert answer.status == 400
    assert "JSON" in detail(answer)


INVALID = {
    "a huge number": (b'{"text": "Koch", "top_k": 1e999}', "body.top_k"),
    "a number of 4000 digits": (b'{"text": "Koch", "top_k": %s}' % (b"9" * 4000), "body.top_k"),
    "a field there twice": (b'{"text": "Koch", "text": "Arzt"}', "'text' is there twice"),
    "an unknown field": (b'{"text": "Koch", "raw_scores": true}', "body.raw_scores"),
    "a long unknown field": (b'{"text": "Koch", "%s": 1}' % (b"k" * MEGABYTE), "body.kkk"),
    "deep, but not too deep": (b'{"text": ' + b"[" * 400 + b"]" * 400 + b"}", "body.text"),
    "far too deep": (b"[" * FULL, "more fields and values"),
    "many unknown fields": (
        b"{%s}" % b",".join(b'"%x":1' % n for n in range(150_000)),
        "more fields and values",
    ),
    "many empty ads": (b'{"ads":[%s]}' % b",".join([b"{}"] * (FULL // 3)), "more fields"),
    "blanks": (b'{"text": "%s"}' % (b" " * FULL), "body.text"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_json_gets_422_that_names_the_field(ask: Ask, name: str) -> None:
    body, place = INVALID[name]
    answer = ask(post(body))
    assert answer.status == 422
    assert place in detail(answer)


@pytest.mark.parametrize("path", ["/classify", "/classify/batch", "/classify/jobposting", "/model"])
def test_unknown_options_are_refused(ask: Ask, path: str) -> None:
    body = {
        "/classify": {"text": "Koch"},
        "/classify/batch": {"ads": [{"text": "Koch"}]},
        "/classify/jobposting": {"@type": "JobPosting", "title": "Koch"},
    }
    sent = post(body.get(path, b""), f"{path}?top_k=1".encode())
    if path == "/model":
        sent = RawRequest("GET", sent.target, sent.headers)
    assert "query.top_k" in detail(ask(sent))
    # A job posting may have any other property.
    if path in ("/classify", "/classify/batch"):
        for option in ("raw_scores", "timeout", "truncate"):
            answer = ask(post({**body[path], option: 1}, path.encode()))
            assert detail(answer).startswith(f"body.{option}: ")


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data",
     "application/jsonp", "application/json, text/plain", "json", "application/xml"],
)  # fmt: skip
def test_a_body_of_another_type_gets_415(ask: Ask, media_type: str) -> None:
    answer = ask(post({"text": "Koch"}, content_type=media_type))
    assert answer.status == 415
    assert "application/json" in detail(answer)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/ld+json",
        "application/json;",
    ],
)
def test_json_media_types_are_accepted(ask: Ask, media_type: str) -> None:
    assert ask(post({"text": "Koch"}, content_type=media_type)).status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "nonsense"])
def test_compressed_body_gets_415_and_is_not_unpacked(ask: Ask, coding: str) -> None:
    bomb = gzip.compress(b'{"text": "%s"}' % (b"a" * 50_000_000))
    answer = ask(post(bomb, content_encoding=coding))
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")


def test_too_large_content_length_is_refused_before_the_body(
    connection: Connection, contract: Contract
) -> None:
    head = post(b"").raw().replace(b"content-length: 0", b"content-length: 99999999999")
    answer = connection.exchange(head)
    contract.check("POST", "/classify", answer)
    assert answer.status == 413


def test_too_large_chunked_body_gets_413(server: str) -> None:
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    sent = post(b"", transfer_encoding="chunked").raw()
    with Connection(server) as connection:
        answer = connection.exchange(sent + chunk * 25)
    assert answer.status == 413


def test_missing_key_is_refused_before_the_body(server: str) -> None:
    head = post(b"", key="").raw().replace(b"content-length: 0", b"content-length: 1000000")
    with Connection(server) as connection:
        assert connection.exchange(head).status == 401


@pytest.mark.skipif(CLUSTER, reason="Ray drops a request that is abandoned before it is routed")
def test_incomplete_body_is_counted_as_499(server: str, connection: Connection) -> None:
    """The client disconnects before it has sent the announced bytes."""
    before = metric(server, "requests_total", route="/classify", status="499")
    head = post(b"").raw().replace(b"content-length: 0", b"content-length: 1000")
    with socket.create_connection(_host_and_port(server)) as leaving:
        leaving.sendall(head + b'{"text": ')
    wait_until(
        lambda: metric(server, "requests_total", route="/classify", status="499") > before, 30
    )
    assert connection.ask(post({"text": "Koch"})).status == 200


NO_HTTP = {
    "a body longer than announced": post(b"").raw().replace(b"length: 0", b"length: 2")
    + b'{}"text": "Koch"}\r\n\r\n',
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": b"BREW /classify HTTP/1.1\r\nhost: a\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
    "a length that is none": b"POST /classify HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "two lengths": b"POST /classify HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    "length and chunks": b"POST /classify HTTP/1.1\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": post(b"", transfer_encoding="chunked").raw() + b"zz\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    "a header with NUL": b"GET / HTTP/1.1\r\na: b\0c\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\na: b\r\n c: d\r\n\r\n",
    "an address with blanks": b"GET /a b HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_malformed_http_gets_a_problem_and_is_closed(
    server: str, contract: Contract, name: str
) -> None:
    with socket.create_connection(_host_and_port(server), timeout=20) as connection:
        connection.sendall(NO_HTTP[name])
        received = b""
        while part := connection.recv(65536):
            received += part
    # Bytes in front of the malformed ones may be a request with a response of its own.
    head, _, body = received.rpartition(b"\r\n\r\n")
    head = head[head.rindex(b"HTTP/1.1") :]
    assert head.startswith(b"HTTP/1.1 400 "), received
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    contract.check("POST", "/classify", Answer(400, headers, body))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 40_000),
        b"GET /health?%s HTTP/1.1\r\n\r\n" % (b"a" * 40_000),
        b"GET /health HTTP/1.1\r\na: %s\r\n\r\n" % (b"b" * 40_000),
        b"GET /health HTTP/1.1\r\n%s\r\n" % b"".join(b"a%d: b\r\n" % n for n in range(5000)),
        b"GET /health HTTP/1.1\r\na: %s" % (b"b" * 30_000_000),
        b"GET /%s" % (b"b" * 30_000_000),
    ],
    ids=["path", "query", "header", "headers", "header without end", "path without end"],
)
def test_too_large_head_gets_431_without_using_memory(
    server: str, contract: Contract, process: subprocess.Popen[bytes], head: bytes
) -> None:
    before = peak_megabytes(process)
    with Connection(server) as connection:
        answer = connection.exchange(head, "GET")
    contract.check("GET", "/health", answer)
    assert answer.status == 431
    assert peak_megabytes(process) - before < 10


def test_large_head_below_the_limit_is_accepted(ask: Ask) -> None:
    cookie = (b"cookie", b"a" * 20_000)
    assert ask(RawRequest("GET", b"/health", (cookie,))).status == 200


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0"])
def test_upgrade_request_is_answered_as_http(server: str, ask: Ask, protocol: bytes) -> None:
    upgrade = ((b"connection", b"upgrade"), (b"upgrade", protocol))
    assert ask(RawRequest("GET", b"/health", upgrade)).status == 200
    # After such a head the parser expects the other protocol, not a body.
    sent = post({"text": "Koch"})
    with Connection(server) as connection:
        sent = RawRequest("POST", sent.target, sent.headers + upgrade, sent.body)
        assert connection.ask(sent).status == 400


def test_bad_ad_refuses_only_its_own_batch(ask: Ask) -> None:
    answer = ask(post({"ads": [{"text": "Koch"}, {"text": " "}]}, b"/classify/batch"))
    assert (answer.status, detail(answer)[:16]) == (422, "body.ads.1.text:")
    assert ask(post({"ads": [{"text": "Koch"}]}, b"/classify/batch")).status == 200


def test_malformed_request_ids_are_replaced(ask: Ask) -> None:
    for kept in ("job-7:a.b_c", "x" * 128, "0"):
        assert ask(post({}, x_request_id=kept)).headers["x-request-id"] == kept
    for bad in ("a b", "x" * 129, "<script>", "a\tb", "ä", '"', "a,b", "../a"):
        made = ask(post({}, x_request_id=bad)).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made), bad


def test_path_traversal_gets_404(ask: Ask) -> None:
    for path in (
        "/page/../pages.py", "/page/..%2fpages.py", "/page/%2e%2e/pages.py", "/page/..\\pages.py",
        "/docs/../../etc/passwd", "/page//etc/passwd", "//etc/passwd", "/%2f/etc/passwd",
        "/page/%00", "/page/page.js%00", "/page/", "/page", "/docs/", "/page/" + "a" * 5000,
    ):  # fmt: skip
        assert ask(RawRequest("GET", path.encode())).status == 404, path


def test_unknown_paths_make_no_new_metric_series(server: str, connection: Connection) -> None:
    connection.ask(RawRequest("GET", b"/nowhere"))
    connection.ask(RawRequest("GET", b"/page/nowhere"))
    connection.ask(RawRequest("GET", b"/docs/nowhere"))
    before = _series(server)
    for count in range(10_000):
        prefix = (b"/", b"/classify/", b"/page/", b"/docs/", b"/health/", b"/metrics/")[count % 6]
        path = prefix + b"%x" % (count * 2_654_435_761 % 2**32)
        assert connection.ask(RawRequest("GET", path)).status == 404
    assert _series(server) == before


def _series(address: str) -> set[str]:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")}


def _value(address: str, series: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@pytest.mark.parametrize(
    "name", ["many empty ads", "many unknown fields", "far too deep", "blanks"]
)
def test_hostile_body_takes_little_time_and_memory(
    server: str, process: subprocess.Popen[bytes], name: str
) -> None:
    before = peak_megabytes(process)
    begin = processor_seconds(process)
    with Connection(server) as connection:
        for _ in range(5):
            connection.ask(post(INVALID[name][0]))
    # Without limits, 8 MB of empty ads took 24 s, which blocked all other requests, and 4 GB.
    assert (processor_seconds(process) - begin) / 5 < 1
    assert peak_megabytes(process) - before < 60


def posting(**fields: object) -> dict[str, object]:
    return {"@type": "JobPosting", "title": "Koch", **fields}


def nested(depth: int) -> list[object]:
    value: list[object] = ["Koch"]
    for _ in range(depth):
        value = [value, {"name": value}] if depth < 9 else [value]
    return value


POSTINGS: dict[str, tuple[object, int]] = {
    "tags": (posting(description="<p>" * 600_000), 422),
    "formatting": (posting(description="".join(f"<b id={n}><p>" for n in range(110_000))), 422),
    "attributes": (posting(description="<p " + "a=b " * 400_000), 422),
    "escaped tags": (posting(description="&lt;p&gt;" * 150_000), 422),
    "text": (posting(description="<li>Koch</li>" * 100_000), 200),
    "many skills": (posting(skills=[f"s{n}" for n in range(5000)]), 200),
    "one skill, often": (posting(skills=["<p>Saucen</p>"] * 5000), 200),
    "a long classification": (
        posting(occupationalCategory={"inCodeSet": "k" * 1_000_000, "name": ["Koch"] * 4000}),
        200,
    ),
    "many codes": (
        posting(educationRequirements=[{"codeValue": n, "inCodeSet": "DQR"} for n in range(1500)]),
        200,
    ),
    "a long category": (posting(occupationalCategory="Koch " * 300_000), 200),
    "deep": (posting(skills=nested(400), occupationalCategory=nested(400)), 200),
    "wide and deep": (posting(skills=nested(8), educationRequirements=nested(8)), 200),
    "half a letter": (posting(identifier="\ud800", skills="\udfff", industry={"\ud800": 1}), 200),
    "many nodes": ({"@graph": [3] * 6000 + [posting()]}, 200),
    "too many postings": ([posting()] * 33, 422),
    "too many values": ([posting(skills=["x"] * 8000)], 422),
}


@pytest.mark.parametrize("name", POSTINGS)
def test_hostile_job_posting_takes_little_time_and_memory(
    ask: Ask, process: subprocess.Popen[bytes], name: str
) -> None:
    body, status = POSTINGS[name]
    content = json.dumps(body).encode()
    before = peak_megabytes(process)
    begin = processor_seconds(process)
    answer = ask(post(content, b"/classify/jobposting"))
    assert processor_seconds(process) - begin < 2
    assert answer.status == status, answer.body
    assert peak_megabytes(process) - before < 60
    assert len(answer.body) < 4000


def test_duplicate_field_of_a_posting_is_refused(ask: Ask) -> None:
    body = b'{"@type": "JobPosting", "@type": "JobPosting", "title": "Koch"}'
    answer = ask(post(body, b"/classify/jobposting"))
    assert (answer.status, "'@type' is there twice" in detail(answer)) == (422, True)


def test_responses_never_contain_a_key(connection: Connection) -> None:
    for sent in (
        post({"text": "Koch"}),
        post(b"{"),
        post({}),
        RawRequest("GET", b"/model"),
        RawRequest("GET", b"/metrics"),
    ):
        assert KEY.encode() not in connection.ask(sent).body
