from app.engine import Engine
from app.records import Ad


def test_run_answers_in_order(checkpoint):
    encoded = checkpoint.tokenizer().encode([Ad("Koch für die Küche"), Ad("Python im Team")])
    both = Engine(checkpoint, "cpu").run(encoded)
    assert len(both) == 2
