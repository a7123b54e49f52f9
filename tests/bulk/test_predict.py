import pytest

from app.bulk.journal import Journal
from app.bulk.predict import Predictor, check, check_out, journal_of, predict
from app.core.errors import DataError, EngineError
from app.core.head_labels import HEADS, labels_of
from app.data.files import CHUNK, read_rows
from app.data.labelled_ads import Columns
from app.data.token_batches import answers
from app.engine.engine import Engine
from tests.support.ad_files import LABELLED_ADS, write_ads

ROWS = [{"id": number, **row} for number, row in enumerate(LABELLED_ADS)]


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine(checkpoint, "cpu")


def run(checkpoint, engine, data, out, run=None, max_tokens=40, format="text"):
    """Predict; return how many rows were answered, and how many got an error."""
    columns, done = Columns(), []
    labels = labels_of(checkpoint.heads)
    predictor = Predictor(run or engine.run, checkpoint.tokenizer(), labels, max_tokens)
    about = {"input": data.read_bytes().hex()}
    with Journal(journal_of(out), about, out) as journal:
        errors = predict(
            check(data, columns), columns, format, out, journal, predictor.answer, done.append
        )
    return sum(done), errors


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("source", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
def test_every_row_keeps_its_columns_and_gets_both_predictions(
    tmp_path, checkpoint, engine, source, target
):
    data = write_ads(tmp_path / source, ROWS)
    assert run(checkpoint, engine, data, tmp_path / target) == (len(ROWS), 0)
    written = [row for _, row in read_rows(tmp_path / target)]
    assert list(written[0]) == [
        "id", "text", "job_category", "min_education", "job_category_predicted",
        "job_category_probability", "min_education_predicted", "min_education_probability",
        "prediction_error",
    ]  # fmt: skip
    assert [str(row["id"]) for row in written] == [str(row["id"]) for row in ROWS]
    for row in written:
        for head in HEADS:
            assert row[f"{head}_predicted"] in checkpoint.heads[head].labels
            assert 1 / 3 <= float(row[f"{head}_probability"]) <= 1


def test_predictions_are_the_engines(tmp_path, checkpoint, engine):
    run(checkpoint, engine, write_ads(tmp_path / "a.jsonl", ROWS), tmp_path / "o.jsonl")
    from app.core.types import Ad

    for (_, row), ad in zip(read_rows(tmp_path / "o.jsonl"), ROWS, strict=True):
        alone = engine.run(checkpoint.tokenizer().encode([Ad(ad["text"])]))[0]
        best = alone.probabilities["job_category"]
        assert row["job_category_predicted"] == checkpoint.heads["job_category"].labels[
            best.argmax()
        ]  # fmt: skip
        assert row["job_category_probability"] == pytest.approx(float(best.max()), abs=1e-5)


def test_lines_with_columns_of_their_own_keep_them(tmp_path, checkpoint, engine):
    rows = [{"text": "Koch"}, {"text": "Koch", "late": "x"}]
    data = write_ads(tmp_path / "a.jsonl", rows)
    run(checkpoint, engine, data, tmp_path / "o.csv")
    assert [row["late"] for _, row in read_rows(tmp_path / "o.csv")] == ["", "x"]


def test_a_row_without_a_text_or_too_large_gets_an_error_and_the_others_their_answer(
    tmp_path, checkpoint, engine
):
    data = write_ads(
        tmp_path / "a.jsonl", [ROWS[0], {"text": " "}, {"text": None}, ROWS[1], ROWS[2]]
    )

    def fails_once(batch):
        results = list(engine.run(batch))
        return [*results[:-1], EngineError("The ad does not fit.")] if len(batch) == 1 else results

    ask = fails_once
    assert run(checkpoint, engine, data, tmp_path / "o.jsonl", ask, 1) == (5, 5)
    assert run(checkpoint, engine, data, tmp_path / "p.jsonl", ask, 10**6) == (5, 2)
    rows = [[row for _, row in read_rows(tmp_path / name)] for name in ("o.jsonl", "p.jsonl")]
    empty, lost = "The text is empty.", "The ad does not fit."
    assert [row["prediction_error"] for row in rows[0]] == [lost, empty, empty, lost, lost]
    assert [row["prediction_error"] for row in rows[1]] == [None, empty, empty, None, None]
    assert [row["job_category_predicted"] is None for row in rows[1]] == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
def test_errors_alone_may_fill_the_first_rows_of_any_format(tmp_path, checkpoint, engine, target):
    rows = [{"text": ""}] * (CHUNK + 1) + [{"text": "Koch"}]
    data = write_ads(tmp_path / "a.csv", rows)
    assert run(checkpoint, engine, data, tmp_path / target) == (CHUNK + 2, CHUNK + 1)
    *_, (_, last) = read_rows(tmp_path / target)
    assert 1 / 3 <= float(last["job_category_probability"]) <= 1


class InterruptedRunError(Exception):
    """As Ctrl-C is, in the middle of a run."""


@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
@pytest.mark.parametrize("torn", [0, 1, 7])
def test_an_interrupted_run_goes_on_and_writes_the_same_file(
    tmp_path, checkpoint, engine, target, torn
):
    data = write_ads(tmp_path / "a.csv", [ROWS[number % 9] for number in range(2 * CHUNK + 10)])
    out = tmp_path / target
    run(checkpoint, engine, data, tmp_path / f"whole-{target}", max_tokens=10**4)
    seen = 0

    def ends(batch):
        nonlocal seen
        seen += len(batch)
        if seen > CHUNK + 100:
            raise InterruptedRunError
        return engine.run(batch)

    with pytest.raises(InterruptedRunError):
        run(checkpoint, engine, data, out, ends, max_tokens=10**4)
    assert not out.exists()
    # What a power failure leaves: the last line was not written to its end.
    with journal_of(out).open("ab") as file:
        file.write(b'[{"job_category_predicted": "kitchen"'[:torn])
    before = seen = 0

    def counts(batch):
        nonlocal before
        before += len(batch)
        return engine.run(batch)

    assert run(checkpoint, engine, data, out, counts, max_tokens=10**4) == (2 * CHUNK + 10, 0)
    assert before == CHUNK + 10
    if target.endswith(".parquet"):
        assert list(read_rows(out)) == list(read_rows(tmp_path / f"whole-{target}"))
    else:
        assert out.read_bytes() == (tmp_path / f"whole-{target}").read_bytes()
    assert names(tmp_path) == sorted(["a.csv", target, f"whole-{target}"])


def test_an_interrupt_while_the_output_is_written_asks_for_nothing_again(
    tmp_path, checkpoint, engine
):
    data, out = write_ads(tmp_path / "a.csv", ROWS), tmp_path / "o" / "o.csv"

    def never(batch):
        raise AssertionError("asked again")

    def ends(rows):
        if rows:
            out.mkdir()  # cannot be replaced by a file

    columns, about = Columns(), {"input": data.read_bytes().hex()}
    predictor = Predictor(engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), 40)
    with Journal(journal_of(out), about, out) as journal, pytest.raises(OSError, match=r"o\.csv"):
        predict(check(data, columns), columns, "text", out, journal, predictor.answer, ends)
    out.rmdir()
    assert run(checkpoint, engine, data, out, never) == (len(ROWS), 0)
    assert len(list(read_rows(out))) == len(ROWS)


def test_another_input_is_not_mixed_with_what_is_unfinished(tmp_path):
    out = tmp_path / "o.csv"
    with Journal(journal_of(out), {"input": "a", "format": "text"}, out) as journal:
        journal.add([{"prediction_error": "x"}])
    with pytest.raises(DataError, match=r"o\.csv.*run with another input is unfinished"):
        Journal(journal_of(out), {"input": "b", "format": "text"}, out)
    with Journal(journal_of(out), {"input": "a", "format": "text"}, out) as journal:
        assert journal.rows == 1


@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_changes_meanwhile_is_told(tmp_path, checkpoint, engine, late):
    data, out = write_ads(tmp_path / "a.csv", ROWS), tmp_path / "o.csv"
    columns = Columns()
    predictor = Predictor(engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), 40)

    def changes(rows):
        if bool(rows) is late:
            write_ads(data, ROWS[:-1])

    with Journal(journal_of(out), {}, out) as journal:
        with pytest.raises(DataError, match=r"a\.csv: changed while it was read"):
            predict(check(data, columns), columns, "text", out, journal, predictor.answer, changes)
    assert not out.exists()


def test_texts_may_be_html(tmp_path, checkpoint, engine):
    plain = write_ads(tmp_path / "a.jsonl", [{"text": "Koch"}])
    html = write_ads(tmp_path / "b.jsonl", [{"text": "<b>Koch</b><script>Python Java</script>"}])
    run(checkpoint, engine, plain, tmp_path / "o.jsonl")
    run(checkpoint, engine, html, tmp_path / "p.jsonl", format="html")
    (_, one), (_, other) = (*read_rows(tmp_path / "o.jsonl"), *read_rows(tmp_path / "p.jsonl"))
    assert one | {"text": ""} == other | {"text": ""}


def test_html_that_shows_nothing_is_an_error_of_its_row_alone(tmp_path, checkpoint, engine):
    data = write_ads(tmp_path / "a.jsonl", [{"text": "<p>Koch</p>"}, {"text": "<br><!-- Koch -->"}])
    assert run(checkpoint, engine, data, tmp_path / "o.jsonl", format="html") == (2, 1)
    sound, empty = (row for _, row in read_rows(tmp_path / "o.jsonl"))
    assert (sound["prediction_error"], empty["prediction_error"]) == (
        None,
        "The HTML shows no text.",
    )


def test_a_batch_keeps_to_its_tokens_and_the_order(checkpoint):
    from app.core.types import Ad

    ads = checkpoint.tokenizer().encode([Ad(row["text"]) for row in ROWS])
    seen = []

    def note(batch):
        seen.append(sum(ad.tokens for ad in batch))
        return [ad.tokens for ad in batch]

    numbered = list(enumerate(ads, start=1))
    assert list(answers(note, numbered, 50, "a.csv")) == [ad.tokens for ad in ads]
    assert max(seen) <= 50
    assert len(seen) < len(ads)
    seen.clear()
    assert list(answers(note, numbered, 1, "a.csv")) == [ad.tokens for ad in ads]
    assert len(seen) == len(ads)


def test_a_column_a_prediction_would_overwrite_is_refused(tmp_path):
    data = write_ads(tmp_path / "a.csv", [{"text": "Koch", "job_category_predicted": "x"}])
    with pytest.raises(DataError, match="column 'job_category_predicted': the prediction would"):
        check(data, Columns())


def test_the_data_itself_and_what_is_there_are_not_overwritten(tmp_path):
    data, other = write_ads(tmp_path / "a.csv", ROWS), write_ads(tmp_path / "b.csv", ROWS)
    with pytest.raises(DataError, match="is the data itself"):
        check_out(data, data, overwrite=True)
    with pytest.raises(DataError, match="add --overwrite"):
        check_out(other, data, overwrite=False)
    check_out(other, data, overwrite=True)
    with pytest.raises(DataError, match="suffix"):
        check_out(tmp_path / "o.xlsx", data, overwrite=False)
