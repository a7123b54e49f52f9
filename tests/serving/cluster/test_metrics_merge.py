import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.serving.cluster.metrics_merge import INGRESS_METRICS, MergedMetrics
from app.serving.metrics import Metrics

HELP = 'Ads "so far", of C:\\ads\nand others'


def exposition(ads, kind="a"):
    """Return the metrics of a replica that has answered this number of ads."""
    registry = CollectorRegistry()
    Counter("ads", HELP, ["kind"], registry=registry).labels(kind).inc(ads)
    Gauge("queued", "Ads that wait", registry=registry).set(ads / 2)
    seconds = Histogram("batch_seconds", "Seconds", registry=registry, buckets=(1, 2.5))
    for _ in range(ads):
        seconds.observe(2)
    return generate_latest(registry).decode()


def read(text):
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


@pytest.fixture
def both():
    """The merged metrics of two replicas."""
    merged = MergedMetrics()
    merged.add("one", exposition(3))
    merged.add("two", exposition(4, 'a "b"\\'))
    return read(merged.text())


def values(family, sample):
    return {tuple(one.labels.values()): one.value for one in family.samples if one.name == sample}


def test_every_series_is_labelled_with_its_replica(both):
    assert values(both["ads"], "ads_total") == {("a", "one"): 3, ('a "b"\\', "two"): 4}
    assert values(both["queued"], "queued") == {("one",): 1.5, ("two",): 2}
    assert all("replica" in one.labels for family in both.values() for one in family.samples)


def test_a_metric_appears_once_with_its_type_and_help(both):
    assert {name: (family.type, family.documentation) for name, family in both.items()} == {
        "ads": ("counter", HELP),
        "queued": ("gauge", "Ads that wait"),
        "batch_seconds": ("histogram", "Seconds"),
    }


def test_a_histogram_keeps_its_buckets_its_sum_and_its_count(both):
    family = both["batch_seconds"]
    buckets = values(family, "batch_seconds_bucket")
    assert [buckets[edge, "one"] for edge in ("1.0", "2.5", "+Inf")] == [0, 3, 3]
    assert values(family, "batch_seconds_sum") == {("one",): 6, ("two",): 8}
    assert values(family, "batch_seconds_count") == {("one",): 3, ("two",): 4}


def test_only_metrics_with_the_prefixes_are_added():
    merged = MergedMetrics()
    merged.add("one", exposition(3), ("ads", "batch_"))
    assert set(read(merged.text())) == {"ads", "batch_seconds"}


def test_no_replicas_give_an_empty_text():
    assert MergedMetrics().text() == b""


def test_one_replica_keeps_all_its_metrics_and_labels():
    metrics = Metrics()
    metrics.expect_routes([("/classify", [200])])
    before = read(metrics.exposition())
    merged = MergedMetrics()
    merged.add("one", metrics.exposition().decode())
    after = read(merged.text())
    assert after.keys() == before.keys()
    assert "process_resident_memory_bytes" in after
    for name, family in before.items():
        assert after[name].type == family.type
        assert [(one.name, one.labels) for one in after[name].samples] == [
            (one.name, {**one.labels, "replica": "one"}) for one in family.samples
        ]


@pytest.mark.parametrize("name", INGRESS_METRICS)
def test_every_ingress_prefix_matches_a_metric(name):
    families = read(Metrics().exposition())
    assert any(family.startswith(name) for family in families)
