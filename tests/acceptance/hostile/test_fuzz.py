"""About twenty thousand generated requests to a real server.

Half of each request is valid, so that the server gets as far as the invalid half.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.acceptance.hostile.wire import KEY, PAGES, Answer, Connection, Contract, RawRequest
from tests.support.server_process import peak_megabytes

pytestmark = pytest.mark.server

AT_ONCE = 4
REQUESTS_AN_EXAMPLE = 40
EXAMPLES = 460

AUTHORIZED = (b"authorization", b"Bearer " + KEY.encode())
JSON = (b"content-type", b"application/json")
NDJSON = (b"content-type", b"application/x-ndjson")

METHODS = st.sampled_from(
    ["POST"] * 8 + ["GET"] * 6
    + ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT", "BREW"]
)  # fmt: skip
PATHS = st.sampled_from(
    [b"/classify"] * 6
    + [b"/classify/batch"] * 6
    + [b"/classify/stream"] * 8
    + [b"/classify/jobposting"] * 7
    + [b"/model", b"/health", b"/health/live", b"/health/ready", b"/metrics"]
    + [name.encode() for name in PAGES]
)  # fmt: skip
# Printable ASCII; other bytes are no HTTP, see test_cases.
ODD_PATHS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#"), max_size=60
).map(lambda text: b"/" + text.encode())
QUERIES = st.sampled_from([b""] * 12 + [b"?", b"?a=b", b"?top_k=3", b"?%00=%ff", b"?a&a&&=="])
TARGETS = st.tuples(PATHS | PATHS | PATHS | ODD_PATHS, QUERIES).map(b"".join)

LETTERS = st.characters(codec=None, exclude_categories=[])
TEXTS = (
    st.sampled_from(["Koch für die Küche", "Pflegefachkraft", " ", "", "\x00", "\ufeff", "🧑‍🍳"])
    | st.text(LETTERS, max_size=200)
    | st.tuples(st.text(LETTERS, min_size=1, max_size=4), st.integers(1, 2000)).map(
        lambda pair: pair[0] * pair[1]
    )
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=20)
    | st.sampled_from([10**400, -1, 0, 3, 1000, 1001])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
TOP_K = st.integers(1, 5) | SCALARS
MARKUP = st.lists(
    st.sampled_from(["<p>", "</p>", "<b", ">", "<script>", "<!--", "&amp;", "&#0;", "='", "Koch"]),
    max_size=20,
).map("".join)
FORMATS = st.sampled_from(["text", "html", "auto", "auto", "markdown", None])
ADS = st.fixed_dictionaries(
    {"text": TEXTS | MARKUP}, optional={"title": TEXTS | MARKUP, "id": TEXTS, "format": FORMATS}
)
SOUND_TEXTS = st.text(st.characters(codec="utf-8"), max_size=100).map(lambda text: "Koch" + text)
SOUND_ADS = st.fixed_dictionaries({"text": SOUND_TEXTS}, optional={"title": SOUND_TEXTS})
BROKEN_ADS = st.fixed_dictionaries(
    {}, optional={"text": TEXTS | ANYTHING, "title": ANYTHING, "id": ANYTHING, "tetx": ANYTHING}
)
NODES = st.recursive(
    TEXTS | MARKUP | SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["@value", "@type", "name", "description", "codeValue", "inCodeSet",
                             "credentialCategory", "educationalLevel", "url", "@id", "@graph"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)  # fmt: skip
POSTINGS = st.fixed_dictionaries(
    {"@type": st.sampled_from(["JobPosting", ["schema:JobPosting"], "Thing"])},
    optional=dict.fromkeys(
        ("title", "description", "skills", "qualifications", "occupationalCategory",
         "educationRequirements", "identifier", "@id", "hiringOrganization"),
        NODES,
    )
    | {"top_k": TOP_K},
)  # fmt: skip
SOUND_POSTINGS = st.tuples(POSTINGS, SOUND_TEXTS).map(
    lambda pair: {**pair[0], "@type": "JobPosting", "title": pair[1], "top_k": 2}
)
DOCUMENTS = (
    POSTINGS
    | st.lists(POSTINGS, max_size=4)
    | st.fixed_dictionaries({"@graph": st.lists(POSTINGS | ANYTHING, max_size=4)})
)
BODIES = (
    st.fixed_dictionaries({"text": TEXTS}, optional={"title": TEXTS, "top_k": TOP_K, "id": TEXTS})
    | st.fixed_dictionaries(
        {"ads": st.lists(ADS, max_size=4) | st.lists(ADS | BROKEN_ADS, max_size=3)},
        optional={"top_k": TOP_K},
    )
    | BROKEN_ADS
    | DOCUMENTS
    | ANYTHING
)


def encoded(value: object, escaped: bool) -> bytes:
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw JSON with bytes removed or inserted."""
    whole = draw(CONTENTS)
    place = draw(st.integers(0, len(whole)))
    return whole[:place] + draw(st.binary(max_size=6)) + whole[place + draw(st.integers(0, 9)) :]


CONTENTS = st.builds(encoded, BODIES, st.booleans())
SOUND_CONTENTS = {
    b"/classify": st.builds(encoded, SOUND_ADS, st.booleans()),
    b"/classify/stream": st.lists(
        st.builds(encoded, SOUND_ADS | BROKEN_ADS, st.booleans()) | st.binary(max_size=50),
        max_size=5,
    ).map(b"\n".join),
    b"/classify/batch": st.builds(
        encoded,
        st.fixed_dictionaries({"ads": st.lists(SOUND_ADS, min_size=1, max_size=4)}),
        st.booleans(),
    ),
    b"/classify/jobposting": st.builds(
        encoded, SOUND_POSTINGS | st.lists(SOUND_POSTINGS, min_size=1, max_size=4), st.booleans()
    ),
}

# Without line ends and NUL, which would end the header, see test_cases.
HEADER_VALUES = st.binary(max_size=60).map(lambda value: re.sub(rb"[\x00-\x1f\x7f]", b"", value))
HEADERS = st.one_of(
    st.tuples(
        st.sampled_from([b"x-request-id", b"x-request-timeout-ms", b"content-type", b"accept",
                         b"authorization", b"content-encoding", b"range", b"if-none-match",
                         b"cookie", b"origin", b"host", b"x-forwarded-for", b"te"]),
        HEADER_VALUES,
    ),
    st.sampled_from(
        [
            (b"x-request-timeout-ms", b"1"),
            (b"x-first-line", b"1001"),
            (b"x-first-line", b"-1"),
            (b"x-request-timeout-ms", b"60000"),
            (b"x-request-timeout-ms", b"1e3"),
            (b"x-request-id", b"job-7:a.b_c"),
            (b"content-type", b"text/plain"),
            (b"content-type", b"application/json; charset=latin-1"),
            (b"content-encoding", b"gzip"),
            (b"range", b"bytes=0-1"),
            (b"upgrade", b"websocket"),
            (b"connection", b"upgrade"),
        ]
    ),
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> RawRequest:
    target = draw(TARGETS)
    kind = NDJSON if target.startswith(b"/classify/stream") else JSON
    standard_headers = draw(
        st.sampled_from([[AUTHORIZED, kind]] * 12 + [[], [kind]] + [[AUTHORIZED]] * 2)
    )
    odd_headers = draw(st.lists(HEADERS, max_size=2)) if draw(st.booleans()) else []
    sound = SOUND_CONTENTS.get(target, CONTENTS)
    content = draw(sound | CONTENTS | CONTENTS | damaged() | st.binary(max_size=50))
    return RawRequest(draw(METHODS), target, (*odd_headers, *standard_headers), content)


def basic_requests(number: int, sound: dict[bytes, bytes]) -> Iterator[RawRequest]:
    """Yield a request to each path: by turns a valid one, one without key, one without media type.

    The library may draw too few of them: how often changes with every line of this file.
    """
    for path, content in sound.items():
        kind = NDJSON if path == b"/classify/stream" else JSON
        headers = ((AUTHORIZED, kind), (kind,), (AUTHORIZED,))[number % 3]
        yield RawRequest("POST", path, headers, content)


class Callers:
    """Sends requests over several connections at once and counts the statuses in `reached`."""

    def __init__(self, address: str, contract: Contract) -> None:
        self.reached: Counter[tuple[str, str, int]] = Counter()
        self._contract = contract
        self._connections = [Connection(address) for _ in range(AT_ONCE)]
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def ask_all(self, sent: list[RawRequest]) -> None:
        parts = [sent[number::AT_ONCE] for number in range(AT_ONCE)]
        for part, answers in zip(
            parts, self._pool.map(self._ask, self._connections, parts), strict=True
        ):
            for request, answer in zip(part, answers, strict=True):
                self._check(request, answer)

    def _ask(self, connection: Connection, sent: list[RawRequest]) -> list[Answer]:
        return [connection.ask(request) for request in sent]

    def _check(self, sent: RawRequest, answer: Answer) -> None:
        path = unquote(sent.target.split(b"?")[0].decode())
        try:
            # Documented for a failing engine, but no request may cause it.
            assert answer.status != 500
            self._contract.check(sent.method, path, answer)
        except Exception as error:
            raise AssertionError(f"{sent}\n{answer}\n{answer.body[:500]!r}") from error
        known = path if path in self._contract.paths else "elsewhere"
        self.reached[sent.method, known, answer.status] += 1

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def callers(server: str, contract: Contract) -> Iterator[Callers]:
    callers = Callers(server, contract)
    yield callers
    callers.close()


def test_generated_requests_get_documented_answers(
    callers: Callers, server: str, process: subprocess.Popen[bytes]
) -> None:
    """Afterwards the server is ready and has used at most 150 MiB more."""
    before = peak_megabytes(process)
    numbers = count()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        # The same requests in every run, so that a failure comes from the change under test.
        derandomize=True,
        # No shrinking of a failing request, which takes minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(requests(), min_size=REQUESTS_AN_EXAMPLE, max_size=REQUESTS_AN_EXAMPLE),
        st.fixed_dictionaries(SOUND_CONTENTS),
    )
    def ask(sent: list[RawRequest], sound: dict[bytes, bytes]) -> None:
        callers.ask_all([*sent, *basic_requests(next(numbers), sound)])

    ask()
    reached = callers.reached
    assert sum(reached.values()) >= EXAMPLES * REQUESTS_AN_EXAMPLE
    for path in ("/classify", "/classify/batch", "/classify/jobposting"):
        statuses = {status: reached["POST", path, status] for status in (200, 400, 401, 415, 422)}
        assert min(statuses.values()) > 50, (path, statuses)
    # Other errors of a stream are reported in its lines.
    statuses = {
        status: reached["POST", "/classify/stream", status] for status in (200, 401, 415, 422)
    }
    assert min(statuses.values()) > 30, statuses
    assert {path for method, path, _ in reached if method == "GET"} > {"/model", "/", "elsewhere"}
    assert httpx.get(f"{server}/health/ready").status_code == 200
    assert peak_megabytes(process) - before < 150
