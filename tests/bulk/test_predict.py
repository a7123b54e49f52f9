import pytest

from app.bulk.engine_predictor import EnginePredictor
from app.bulk.journal import Journal
from app.bulk.predict import check_input, check_output, journal_path, predict
from app.core.errors import DataError, EngineError
from app.core.head_labels import HEADS, labels_of
from app.data.files import CHUNK_ROWS, read_rows
from app.data.labelled_ads import ColumnNames
from app.engine.engine import Engine
from tests.support.ad_files import LABELLED_ADS, write_ads

ROWS = [{"id": number, **row} for number, row in enumerate(LABELLED_ADS)]


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine(checkpoint, "cpu")


def run(checkpoint, engine, data, out, run=None, max_tokens=40, format="text"):
    """Predict a file; return the number of rows and that of rows with an error."""
    columns, done = ColumnNames(), []
    labels = labels_of(checkpoint.heads)
    predictor = EnginePredictor(run or engine.run, checkpoint.tokenizer(), labels, max_tokens)
    about = {"input": data.read_bytes().hex()}
    with Journal(journal_path(out), about, out) as journal:
        errors = predict(
            check_input(data, columns), columns, format, out, journal, predictor.answer, done.append
        )
    return sum(done), errors


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("source", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
def test_each_row_keeps_its_columns_and_gets_both_predictions(
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


def test_a_column_of_later_json_lines_is_kept(tmp_path, checkpoint, engine):
    rows = [{"text": "Koch"}, {"text": "Koch", "late": "x"}]
    data = write_ads(tmp_path / "a.jsonl", rows)
    run(checkpoint, engine, data, tmp_path / "o.csv")
    assert [row["late"] for _, row in read_rows(tmp_path / "o.csv")] == ["", "x"]


@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
def test_the_first_chunk_may_have_errors_only(tmp_path, checkpoint, engine, target):
    rows = [{"text": ""}] * (CHUNK_ROWS + 1) + [{"text": "Koch"}]
    data = write_ads(tmp_path / "a.csv", rows)
    assert run(checkpoint, engine, data, tmp_path / target) == (CHUNK_ROWS + 2, CHUNK_ROWS + 1)
    *_, (_, last) = read_rows(tmp_path / target)
    assert 1 / 3 <= float(last["job_category_probability"]) <= 1


class InterruptedRunError(Exception):
    """Ends a run as Ctrl-C does."""


@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
@pytest.mark.parametrize("torn", [0, 1, 7])
def test_an_interrupted_run_continues_to_the_same_file(tmp_path, checkpoint, engine, target, torn):
    data = write_ads(
        tmp_path / "a.csv", [ROWS[number % 9] for number in range(2 * CHUNK_ROWS + 10)]
    )
    out = tmp_path / target
    run(checkpoint, engine, data, tmp_path / f"whole-{target}", max_tokens=10**4)
    predicted = 0

    def stops(batch):
        nonlocal predicted
        predicted += len(batch)
        if predicted > CHUNK_ROWS + 100:
            raise InterruptedRunError
        return engine.run(batch)

    with pytest.raises(InterruptedRunError):
        run(checkpoint, engine, data, out, stops, max_tokens=10**4)
    assert not out.exists()
    # A power failure leaves an incomplete last line.
    with journal_path(out).open("ab") as file:
        file.write(b'[{"job_category_predicted": "kitchen"'[:torn])
    predicted = 0

    def counts(batch):
        nonlocal predicted
        predicted += len(batch)
        return engine.run(batch)

    assert run(checkpoint, engine, data, out, counts, max_tokens=10**4) == (2 * CHUNK_ROWS + 10, 0)
    assert predicted == CHUNK_ROWS + 10
    if target.endswith(".parquet"):
        assert list(read_rows(out)) == list(read_rows(tmp_path / f"whole-{target}"))
    else:
        assert out.read_bytes() == (tmp_path / f"whole-{target}").read_bytes()
    assert names(tmp_path) == sorted(["a.csv", target, f"whole-{target}"])


def test_an_interrupted_output_is_written_without_new_predictions(tmp_path, checkpoint, engine):
    data, out = write_ads(tmp_path / "a.csv", ROWS), tmp_path / "o" / "o.csv"

    def never(batch):
        raise AssertionError("predicted again")

    def ends(rows):
        if rows:
            out.mkdir()  # cannot be replaced by a file

    columns, about = ColumnNames(), {"input": data.read_bytes().hex()}
    predictor = EnginePredictor(engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), 40)
    with Journal(journal_path(out), about, out) as journal, pytest.raises(OSError, match=r"o\.csv"):
        predict(check_input(data, columns), columns, "text", out, journal, predictor.answer, ends)
    out.rmdir()
    assert run(checkpoint, engine, data, out, never) == (len(ROWS), 0)
    assert len(list(read_rows(out))) == len(ROWS)


@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_changes_during_a_run_is_refused(tmp_path, checkpoint, engine, late):
    data, out = write_ads(tmp_path / "a.csv", ROWS), tmp_path / "o.csv"
    columns = ColumnNames()
    predictor = EnginePredictor(engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), 40)

    def changes(rows):
        if bool(rows) is late:
            write_ads(data, ROWS[:-1])

    with Journal(journal_path(out), {}, out) as journal:
        with pytest.raises(DataError, match=r"a\.csv: changed while it was read"):
            predict(
                check_input(data, columns), columns, "text", out, journal, predictor.answer, changes
            )
    assert not out.exists()


def test_texts_may_be_html(tmp_path, checkpoint, engine):
    plain = write_ads(tmp_path / "a.jsonl", [{"text": "Koch"}])
    html = write_ads(tmp_path / "b.jsonl", [{"text": "<b>Koch</b><script>Python Java</script>"}])
    run(checkpoint, engine, plain, tmp_path / "o.jsonl")
    run(checkpoint, engine, html, tmp_path / "p.jsonl", format="html")
    (_, one), (_, other) = (*read_rows(tmp_path / "o.jsonl"), *read_rows(tmp_path / "p.jsonl"))
    assert one | {"text": ""} == other | {"text": ""}


def test_only_rows_without_a_prediction_get_an_error(tmp_path, checkpoint, engine):
    """Rows without a text, and those that the engine fails on."""
    data = write_ads(
        tmp_path / "a.jsonl", [ROWS[0], {"text": " "}, {"text": None}, ROWS[1], ROWS[2]]
    )

    def fails_once(batch):
        results = list(engine.run(batch))
        return [*results[:-1], EngineError("The ad does not fit.")] if len(batch) == 1 else results

    assert run(checkpoint, engine, data, tmp_path / "o.jsonl", fails_once, 1) == (5, 5)
    assert run(checkpoint, engine, data, tmp_path / "p.jsonl", fails_once, 10**6) == (5, 2)
    rows = [[row for _, row in read_rows(tmp_path / name)] for name in ("o.jsonl", "p.jsonl")]
    empty, failed = "The text is empty.", "The ad does not fit."
    assert [row["prediction_error"] for row in rows[0]] == [failed, empty, empty, failed, failed]
    assert [row["prediction_error"] for row in rows[1]] == [None, empty, empty, None, None]
    assert [row["job_category_predicted"] is None for row in rows[1]] == [0, 1, 1, 0, 0]


def test_html_without_text_is_an_error_of_its_row_alone(tmp_path, checkpoint, engine):
    data = write_ads(tmp_path / "a.jsonl", [{"text": "<p>Koch</p>"}, {"text": "<br><!-- Koch -->"}])
    assert run(checkpoint, engine, data, tmp_path / "o.jsonl", format="html") == (2, 1)
    sound, empty = (row for _, row in read_rows(tmp_path / "o.jsonl"))
    assert sound["prediction_error"] is None
    assert empty["prediction_error"] == "The HTML shows no text."


def test_an_input_with_a_column_of_predictions_is_refused(tmp_path):
    data = write_ads(tmp_path / "a.csv", [{"text": "Koch", "job_category_predicted": "x"}])
    with pytest.raises(DataError, match="column 'job_category_predicted': the prediction would"):
        check_input(data, ColumnNames())


def test_input_and_existing_output_are_not_overwritten(tmp_path):
    data, other = write_ads(tmp_path / "a.csv", ROWS), write_ads(tmp_path / "b.csv", ROWS)
    with pytest.raises(DataError, match="is the data itself"):
        check_output(data, data, overwrite=True)
    with pytest.raises(DataError, match="add --overwrite"):
        check_output(other, data, overwrite=False)
    check_output(other, data, overwrite=True)
    with pytest.raises(DataError, match="suffix"):
        check_output(tmp_path / "o.xlsx", data, overwrite=False)
