import pytest

from app.engine import Engine
from app.errors import DataError, EngineError
from app.heads import HEADS, labels_of
from app.training.batches import answers
from app.training.data import Columns
from app.training.files import read_rows
from app.training.predict import check, check_out, predict
from tests.training.files_of_ads import LABELLED, write

ROWS = [{"id": number, **row} for number, row in enumerate(LABELLED)]


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine(checkpoint, "cpu")


def run(checkpoint, engine, data, out, run=None, max_tokens=40):
    columns = Columns()
    done = []
    predict(
        check(data, columns), columns, out, run or engine.run, checkpoint.tokenizer(),
        labels_of(checkpoint.heads), max_tokens, done.append,
    )  # fmt: skip
    return sum(done)


@pytest.mark.parametrize("source", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("target", ["o.csv", "o.jsonl", "o.parquet"])
def test_every_row_keeps_its_columns_and_gets_both_predictions(
    tmp_path, checkpoint, engine, source, target
):
    data = write(tmp_path / source, ROWS)
    assert run(checkpoint, engine, data, tmp_path / target) == len(ROWS)
    written = [row for _, row in read_rows(tmp_path / target)]
    assert list(written[0]) == [
        "id", "text", "job_category", "min_education", "job_category_predicted",
        "job_category_probability", "min_education_predicted", "min_education_probability",
    ]  # fmt: skip
    assert [str(row["id"]) for row in written] == [str(row["id"]) for row in ROWS]
    for row in written:
        for head in HEADS:
            assert row[f"{head}_predicted"] in checkpoint.heads[head].labels
            assert 1 / 3 <= float(row[f"{head}_probability"]) <= 1


def test_predictions_are_the_engines(tmp_path, checkpoint, engine):
    run(checkpoint, engine, write(tmp_path / "a.jsonl", ROWS), tmp_path / "o.jsonl")
    from app.records import Ad

    for (_, row), ad in zip(read_rows(tmp_path / "o.jsonl"), ROWS, strict=True):
        alone = engine.run(checkpoint.tokenizer().encode([Ad(ad["text"])]))[0]
        best = alone.probabilities["job_category"]
        assert row["job_category_predicted"] == checkpoint.heads["job_category"].labels[
            best.argmax()
        ]  # fmt: skip
        assert row["job_category_probability"] == pytest.approx(float(best.max()), abs=1e-5)


def test_lines_with_columns_of_their_own_keep_them(tmp_path, checkpoint, engine):
    rows = [{"text": "Koch"}, {"text": "Koch", "late": "x"}]
    data = write(tmp_path / "a.jsonl", rows)
    run(checkpoint, engine, data, tmp_path / "o.csv")
    assert [row["late"] for _, row in read_rows(tmp_path / "o.csv")] == ["", "x"]


def test_an_empty_text_is_told_before_anything_is_written(tmp_path):
    data = write(tmp_path / "a.csv", [*ROWS, {**ROWS[0], "text": " "}])
    with pytest.raises(DataError, match=r"a\.csv, row 10, column 'text': the text is empty"):
        check(data, Columns())


def test_an_ad_too_large_for_the_device_is_told_and_leaves_nothing(tmp_path, checkpoint, engine):
    data = write(tmp_path / "a.csv", ROWS)

    def fails_later(batch):
        results = engine.run(batch)
        return [EngineError("The ad does not fit.") if len(ad.windows[0]) > 15 else result
                for ad, result in zip(batch, results, strict=True)]  # fmt: skip

    with pytest.raises(DataError, match=r"a\.csv, row \d+: The ad does not fit\."):
        run(checkpoint, engine, data, tmp_path / "o.csv", fails_later)
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_a_batch_keeps_to_its_tokens_and_the_order(checkpoint):
    from app.records import Ad

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
    data = write(tmp_path / "a.csv", [{"text": "Koch", "job_category_predicted": "x"}])
    with pytest.raises(DataError, match="column 'job_category_predicted': the prediction would"):
        check(data, Columns())


def test_the_data_itself_and_what_is_there_are_not_overwritten(tmp_path):
    data, other = write(tmp_path / "a.csv", ROWS), write(tmp_path / "b.csv", ROWS)
    with pytest.raises(DataError, match="is the data itself"):
        check_out(data, data, overwrite=True)
    with pytest.raises(DataError, match="add --overwrite"):
        check_out(other, data, overwrite=False)
    check_out(other, data, overwrite=True)
    with pytest.raises(DataError, match="suffix"):
        check_out(tmp_path / "o.xlsx", data, overwrite=False)
