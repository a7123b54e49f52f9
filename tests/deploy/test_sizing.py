"""The figures under Sizing in docs/scaling.md follow from the measurements.

Assumptions are read from the page, rates from `tests/measurements/results`; the rows of the other
tables are computed and must equal the page.
"""

import json
import re
from functools import cache
from math import ceil
from typing import Any

import pytest

from app.serving.settings import Settings
from tests.docs.pages import PAGES
from tests.support.repository import ROOT

MILLIONS = (1, 10, 100, 1000)
DAY = 86_400
GPU, CARD = "one H100, 16 cores", "the card alone"


@cache
def section() -> str:
    """Return the text of the section."""
    return PAGES["docs/scaling.md"].text.split("\n## Sizing\n", 1)[1].split("\n## ", 1)[0]


@cache
def tables() -> dict[str, list[list[str]]]:
    """Return the rows of the section's tables, by the first cell of the heading."""
    found = {}
    for block in re.findall(r"(?:^\|.*\|\n)+", section(), flags=re.MULTILINE):
        head, _, *rows = (
            [c.strip() for c in row[1:-2].split("|")] for row in block.splitlines(True)
        )
        found[head[0]] = rows
    return found


@cache
def results(name: str) -> Any:
    """Read a file of results."""
    path = ROOT / "tests" / "measurements" / "results" / f"{name}-2026-11-25.json"
    return json.loads(path.read_text(encoding="utf-8"))


def assumed(name: str) -> list[float]:
    """Return the numbers of an assumption."""
    value = next(row[1] for row in tables()["assumption"] if row[0] == name)
    return [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\.?\d+", value)]


def rates() -> dict[str, tuple[float, float]]:
    """Return tokens a second at the knee and at the full rate, by instance."""
    cpu, card = results("cpu"), results("h100")
    contest = {one["name"]: one["medians"] for one in results("peers")["contenders"]}
    plain = contest["doppelkopf"]["ads_per_second_32"]
    float32 = cpu["service"]["saturated"]["service_tokens_per_second"]
    times = {
        name: contest[f"doppelkopf:{name}"]["ads_per_second_32"] / plain
        for name in ("dtype=int8", "max_windows=1")
    }
    ways = cpu["engine"]["BERT-base shape, random weights"]["medians"]
    (base,) = (way["tokens"] for way in ways if way["name"] == "packed, 1024 tokens")
    service = card["service"]["11 workers"]
    full = service["saturated"]["service_tokens_per_second"]
    tokens = full / service["saturated"]["service_ads_per_second"]
    on_card = card["speed"]["mix"]["tokens_per_second"]
    demo_on_card = card["demo checkpoint"]["speed"]["mix"]["tokens_per_second"]
    return {
        "2 cores, demo, float32": (float32, float32),
        "2 cores, demo, int8": (float32 * times["dtype=int8"],) * 2,
        "2 cores, demo, `MAX_WINDOWS` 1": (float32 * times["max_windows=1"],) * 2,
        "2 cores, BERT-base, float32": (base, base),
        f"{GPU}: BERT-base, one ad a request": (
            service["knee"]["requests_per_second"] * tokens,
            full,
        ),
        f"{CARD}, BERT-base": (on_card, on_card),
        f"{CARD}, demo": (demo_on_card, demo_on_card),
    }


def ads(name: str) -> tuple[float, float]:
    """Return ads a second at the knee and at the full rate."""
    (tokens,) = assumed("tokens of an ad")
    knee, full = rates()[name]
    return knee / tokens, full / tokens


def formatted(number: float) -> str:
    """Format a number like the page: with one decimal below 99.5, with two digits below 1."""
    if number < 1:
        return f"{number:.2g}"
    return f"{number:.1f}" if number < 99.5 else f"{number:,.0f}"


def planned_shares() -> tuple[float, float]:
    """Return the planned share of the knee for requests, and of the full rate for a backfill."""
    share, bulk = assumed("planned share of the rate")
    return share / 100, bulk / 100


def instances_needed(million: float, name: str) -> tuple[int, int]:
    """Return the instances for requests at the peak, without a spare one, and for a backfill."""
    (peak,), (share, bulk), (knee, full) = assumed("peak over mean"), planned_shares(), ads(name)
    mean = million * 1e6 / DAY
    return ceil(mean * peak / (share * knee)), ceil(mean / (bulk * full))


def rows_of_rates() -> list[list[str]]:
    share, bulk = planned_shares()
    shown = []
    for name in rates():
        knee, full = ads(name)
        plans = [formatted(share * knee), formatted(bulk * full)]
        shown.append([name, formatted(full), *(["-"] * 2 if name.startswith(CARD) else plans)])
    return shown


def rows_of_traffic() -> list[list[str]]:
    (peak,) = assumed("peak over mean")
    received, sent = assumed("bytes of a request and its answer")
    text, as_json, batch = assumed("bytes of a log line: text, JSON, batch of 64")
    return [
        [
            f"{million:,}",
            formatted(mean := million * 1e6 / DAY),
            formatted(mean * peak),
            *(formatted(mean * peak * size * 8 / 1e6) for size in (received, sent)),
            *(formatted(million * size / 1000) for size in (text, as_json, batch / 64)),
        ]
        for million in MILLIONS
    ]


def rows_of_cpu() -> list[list[str]]:
    on_16, on_32 = assumed("instances on 16 and on 32 cores")
    (memory,) = assumed("memory of an instance of 2 cores")
    limits = Settings()
    float32, int8 = "2 cores, demo, float32", "2 cores, demo, int8"
    waiting = min(limits.max_queued_ads, int(limits.max_queue_seconds * ads(float32)[1]))
    shown = []
    for million in MILLIONS:
        (one, bulk), (other, other_bulk) = (
            instances_needed(million, float32),
            instances_needed(million, int8),
        )
        shown.append(
            [
                f"{million:,}",
                f"{one + 1:,} / {other + 1:,}",
                f"{2 * (one + 1):,} / {2 * (other + 1):,}",
                f"{ceil(one / on_16) + 1:,} / {ceil(other / on_16) + 1:,}",
                f"{ceil(one / on_32) + 1:,} / {ceil(other / on_32) + 1:,}",
                f"{ceil((one + 1) * memory):,} GiB",
                f"{bulk:,} / {other_bulk:,}",
                f"{(one + 1) * waiting:,}",
            ]
        )
    return shown


def rows_of_gpu() -> list[list[str]]:
    (peak,) = assumed("peak over mean")
    (memory,) = assumed("memory of a host with a card")
    shown = []
    for million in MILLIONS:
        hosts, bulk = instances_needed(million, f"{GPU}: BERT-base, one ad a request")
        hosts += 1
        most = million * 1e6 / DAY * peak
        busy = [most / hosts / ads(f"{CARD}, {name}")[1] * 100 for name in ("BERT-base", "demo")]
        shown.append(
            [
                f"{million:,}",
                f"{hosts}",
                f"{16 * hosts}",
                f"{hosts * memory:.0f} GiB",
                f"{bulk}",
                " / ".join(f"{formatted(part)} %" for part in busy),
                f"{hosts * Settings().max_queued_ads:,}",
            ]
        )
    return shown


def rows_of_costs() -> list[list[str]]:
    (peak,), (share, _) = assumed("peak over mean"), planned_shares()
    shown = []
    for name in rates():
        knee, full = (1e6 / 3600 / rate for rate in ads(name))
        for_requests = knee * peak / share
        if name.startswith("2 cores"):
            cells = [f"{formatted(2 * hours)} core-hours" for hours in (full, for_requests)]
        elif name.startswith(GPU):
            cells = [
                f"{formatted(hours)} card-hours, {formatted(16 * hours)} core-hours"
                for hours in (full, for_requests)
            ]
        else:
            cells = [f"{formatted(full)} card-hours", "-"]
        shown.append([name, *cells])
    return shown


@pytest.mark.parametrize(
    ("head", "rows", "columns"),
    [
        ("instance", rows_of_rates, 4),
        ("million ads a day", rows_of_traffic, 8),
        ("million a day, CPU", rows_of_cpu, 8),
        ("million a day, H100", rows_of_gpu, 7),
        ("a million ads", rows_of_costs, 3),
    ],
)
def test_tables_follow_from_the_measurements(head, rows, columns):
    assert [row[:columns] for row in tables()[head]] == rows()


def test_assumed_sizes_equal_the_measured_ones():
    sizes = results("sizes")
    wire, line = sizes["wire"], sizes["wire"]["log_line_bytes"]
    assert assumed("tokens of an ad") == [round(sizes["ads"]["tokens_mean"])]
    assert assumed("bytes of a request and its answer") == [
        wire["request_bytes"],
        wire["answer_bytes"],
    ]
    assert assumed("bytes of a log line: text, JSON, batch of 64") == [
        line["text"],
        line["json"],
        wire["log_line_bytes_of_a_batch_of_64"],
    ]
    assert assumed("series of an instance") == [sizes["metrics"]["series"]]


def test_text_follows_from_the_measurements():
    (share, _), (peak,) = planned_shares(), assumed("peak over mean")
    host, float32 = ads(f"{GPU}: BERT-base, one ad a request"), ads("2 cores, demo, float32")
    int8, base = ads("2 cores, demo, int8"), ads("2 cores, BERT-base, float32")
    cores = [f"{2 * host[0] / rate[0]:,.0f}" for rate in (float32, int8, base)]
    card = results("h100")
    front_end = card["service"]["11 workers"]["saturated"]["service_ads_per_second"] / 11
    mixes = [one["speed"]["mix"] for one in (card, card["demo checkpoint"])]
    front_ends = [ceil(mix["packed_ads_per_second"] / front_end) for mix in mixes]
    replicas = instances_needed(1000, "2 cores, demo, float32")[0] + 1
    series = results("sizes")["metrics"]["series"] * replicas
    limits = Settings()
    text = " ".join(section().split())
    for phrase in (
        "does what {} cores do with the demo checkpoint in float32, {} in int8, and {} with".format(
            *cores
        ),
        f"carried {front_end:.0f} requests/s each",
        f"takes {front_ends[0]} front ends with BERT-base and {front_ends[1]} with the demo",
        f"`MAX_QUEUE_SECONDS` (3) is {int(limits.max_queue_seconds * float32[1])} ads on two cores",
        f"after {limits.max_queued_ads / ads(f'{CARD}, BERT-base')[1]:.1f} s of BERT-base",
        f"a minute ahead at most: {60 * float32[1]:,.0f} ads on two cores",
        f"one instance bears {share * float32[0] * DAY / peak / 1e6:.1f} million with peaks",
        f"Prometheus ({series / 1e6:.1f} million series, {series / 5000:.0f},000 samples/s)",
    ):
        assert phrase in text
