import json
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from app.core.errors import CheckpointError, DataError, SettingsError
from app.data.labelled_ads import sha256
from app.model.classifier import TwoHeadClassifier
from app.training.options import TrainOptions
from app.training.run_folder import run_folder
from app.training.train import train
from tests.conftest import HEADS, LEVELS, TRADES
from tests.support.ad_files import LABELLED_ADS, write_ads

GAPS = [
    {"title": TRADES["nursing"], "job_category": "nursing", "min_education": ""},
    {"title": LEVELS["master"], "job_category": "", "min_education": "master"},
    {"title": "Koch", "job_category": "", "min_education": ""},
]
TITLES = [
    {"title": row["text"], **{head: row[head] for head in HEADS}} for row in LABELLED_ADS * 3
] + GAPS * 2
# A rare class, for class weights to weigh.
TITLES[0]["min_education"] = TITLES[9]["min_education"] = ""


@pytest.fixture
def options(tmp_path, tiny_base):
    def make(out="out", **changes):
        data = tmp_path / "titles.csv"
        if not data.exists():
            write_ads(data, TITLES)
        given = {"data": data, "epochs": 2, "batch_size": 8, "learning_rate": 1e-3} | changes
        return TrainOptions(base=str(tiny_base), out=tmp_path / out, **given)

    return make


def weights(options):
    return load_file(options.out / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def learned(tmp_path_factory, tiny_base):
    """A checkpoint that was trained on the tiny titles until it knows them."""
    folder = tmp_path_factory.mktemp("learned")
    messages = []
    data = write_ads(folder / "titles.csv", TITLES * 10)
    held = write_ads(folder / "held.csv", TITLES)
    options = TrainOptions(
        data, str(tiny_base), folder / "v1", validation=held, epochs=8, batch_size=8,
        learning_rate=2e-3, license="CC0", note="For *tests*.",
    )  # fmt: skip
    return options, train(options, notify=messages.append), messages


def test_titles_with_missing_labels_train_both_heads(learned):
    options, checkpoint, messages = learned
    assert checkpoint.heads["job_category"].labels == ("cooking", "nursing", "software")
    assert checkpoint.heads["min_education"].ordered is False
    assert "22 rows without any label are left out." in messages
    # A random encoder this small learns slowly; guessing has 1/3.
    assert sum(checkpoint.metrics[head]["accuracy"] for head in HEADS) / 2 > 0.5
    for head in HEADS:
        assert checkpoint.heads[head].temperature == checkpoint.metrics[head]["temperature"] != 1
    assert not run_folder(options.out).exists()


def test_metrics_keep_counts_and_the_losses_of_each_epoch(learned):
    _, checkpoint, _ = learned
    metrics = checkpoint.metrics
    rows = metrics["rows"]
    assert (rows["train"]["rows"], rows["validation"]["rows"], rows["unlabelled"]) == (310, 31, 22)
    assert (rows["train"]["job_category"], rows["train"]["min_education"]) == (290, 270)
    history = metrics["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, 9))
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]


def test_the_card_says_how_to_repeat_the_training(learned):
    options, checkpoint, _ = learned
    card = (options.out / "README.md").read_text()
    assert options.command(checkpoint.config.max_length) in card
    assert sha256(options.data) in card
    assert f"torch {torch.__version__}" in card
    assert "Licence: CC0" in card
    assert "For *tests*." in card
    assert "| accuracy |" in card


def test_the_saved_config_does_not_contain_the_bases_path(learned):
    options, _, _ = learned
    for name in ("config.json", "tokenizer_config.json"):
        assert str(options.base) not in (options.out / name).read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_base):
    """The weights of a training that was not interrupted."""
    folder = tmp_path_factory.mktemp("plain")
    options = TrainOptions(write_ads(folder / "titles.csv", TITLES), str(tiny_base), folder / "v1",
                           epochs=2, batch_size=8, learning_rate=1e-3)  # fmt: skip
    train(options)
    return weights(options)


def test_the_same_command_and_seed_give_the_same_weights(options, plain):
    train(options("a"))
    train(options("b", seed=7))
    assert same(weights(options("a")), plain)
    assert not same(weights(options("b")), plain)


class CtrlC(TrainerCallback):
    """Sends the signal that Ctrl-C sends, in the middle of a step."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, _args, state, _control, **_):
        if state.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("step", [1, 5])
def test_an_interrupted_training_resumes_to_the_same_weights(options, plain, step):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"after step . of 8; run .* --resume"):
        train(options("a"), [CtrlC(step)])
    assert signal.getsignal(signal.SIGINT) is before
    assert not options("a").out.exists()
    with pytest.raises(CheckpointError, match="run the command again with --resume, or remove"):
        train(options("a"))
    with pytest.raises(CheckpointError, match="other options or data"):
        train(options("a", resume=True, epochs=3))
    train(options("a", resume=True))
    assert same(weights(options("a")), plain)
    assert not run_folder(options("a").out).exists()


def test_resume_without_an_interrupted_training_starts_a_new_one(options):
    messages = []
    train(options(resume=True, epochs=1), notify=messages.append)
    assert "There is no interrupted training to resume; starting a new one." in messages


def test_a_label_file_sets_order_names_and_codes(options, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({name: head.model_dump() for name, head in HEADS.items()}))
    checkpoint = train(options(labels=labels, epochs=1))
    assert checkpoint.heads["job_category"].names == HEADS["job_category"].names
    assert checkpoint.heads["job_category"].codes == HEADS["job_category"].codes
    card = (checkpoint.path / "README.md").read_text(encoding="utf-8")
    assert "- `min_education`: 3 labels, with codes (credential, dqr)\n" in card
    assert checkpoint.heads["min_education"].labels == tuple(LEVELS)
    assert "mean_level_error" in checkpoint.metrics["min_education"]


def test_options_reach_the_model(options):
    checkpoint = train(
        options(
            epochs=1, layers=1, save_dtype="float16", max_length=16, class_weights=True,
            label_smoothing=0.1, validation_share=0.0,
        )
    )  # fmt: skip
    assert checkpoint.config.encoder.num_hidden_layers == 1
    assert checkpoint.config.max_length == 16
    assert {tensor.dtype for tensor in weights(options()).values()} == {torch.float16}
    assert checkpoint.heads["job_category"].temperature == 1.0
    assert "job_category" not in checkpoint.metrics
    assert isinstance(checkpoint.model(torch.float32, "sdpa"), TwoHeadClassifier)


@pytest.mark.parametrize("change", [{"class_weights": True}, {"label_smoothing": 0.2}])
def test_class_weights_and_label_smoothing_change_the_weights(options, plain, change):
    train(options(**change))
    assert not same(weights(options()), plain)


def test_frozen_embeddings_do_not_change(options, tiny_base):
    train(options(epochs=1, freeze_layers=0, validation_share=0.0))
    name = "embeddings.word_embeddings.weight"
    before = load_file(tiny_base / "model.safetensors")[name]
    assert torch.equal(weights(options())[f"encoder.{name}"], before)
    train(options("free", epochs=1, validation_share=0.0))
    assert not torch.equal(weights(options("free"))[f"encoder.{name}"], before)


def test_only_frozen_layers_stay_unchanged(options, tiny_base):
    train(options(epochs=1, freeze_layers=1, validation_share=0.0))
    before, after = load_file(tiny_base / "model.safetensors"), weights(options())
    for layer, kept in ((0, True), (1, False)):
        name = f"encoder.layer.{layer}.output.dense.weight"
        assert torch.equal(after[f"encoder.{name}"], before[name]) is kept
    with pytest.raises(CheckpointError, match="--freeze-layers has to be at most 2, not 3"):
        train(options("deep", freeze_layers=3))


def test_a_student_is_trained_from_its_teacher(options):
    train(options("teacher", validation_share=0.0))
    student = train(options(teacher=options("teacher").out, layers=1, validation_share=0.0))
    assert student.config.encoder.num_hidden_layers == 1
    assert student.metrics["teacher"]["layers"] == 2
    card = (options().out / "README.md").read_text()
    assert student.metrics["teacher"]["command"] in card
    # Without the teacher the same options give other weights.
    alone = train(options("alone", layers=1, validation_share=0.0))
    assert not same(load_file(alone.path / "model.safetensors"), weights(options()))


def test_a_teacher_with_other_labels_is_refused(options, tmp_path):
    train(options("teacher", epochs=1))
    data = write_ads(
        tmp_path / "more.csv", [*LABELLED_ADS, {**LABELLED_ADS[0], "job_category": "baking"}] * 2
    )
    with pytest.raises(CheckpointError, match="other labels than the data"):
        train(options(teacher=options("teacher").out, data=data))


def test_an_interrupted_student_resumes_to_the_same_weights(options):
    train(options("teacher", epochs=1))
    teacher = {"teacher": options("teacher").out, "layers": 1}
    train(options("whole", **teacher))
    with pytest.raises(KeyboardInterrupt):
        train(options("a", **teacher), [CtrlC(5)])
    train(options("a", resume=True, **teacher))
    assert same(weights(options("a")), weights(options("whole")))


def test_a_distance_weight_changes_the_weights_of_an_ordered_head(options, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(
        json.dumps({name: head.model_dump(mode="json") for name, head in HEADS.items()})
    )
    train(options(labels=labels))
    train(options("weighted", labels=labels, distance_weight=1.0))
    assert not same(weights(options()), weights(options("weighted")))


def test_a_distance_weight_without_an_ordered_head_is_refused(options):
    with pytest.raises(SettingsError, match="--distance-weight"):
        train(options(distance_weight=1.0))


def test_without_validation_labels_a_heads_temperature_stays_one(options, tmp_path):
    held = write_ads(
        tmp_path / "held.jsonl", [{**row, "min_education": None} for row in LABELLED_ADS]
    )
    data = write_ads(tmp_path / "text.csv", LABELLED_ADS * 2)
    messages = []
    checkpoint = train(options(data=data, validation=held, epochs=1), notify=messages.append)
    assert checkpoint.heads["min_education"].temperature == 1.0
    assert checkpoint.metrics["min_education"]["rows"] == 0
    assert any("no validation row" in line.lower() for line in messages)


def test_a_validation_label_missing_in_training_is_refused(options, tmp_path):
    held = write_ads(tmp_path / "held.csv", [{**LABELLED_ADS[0], "job_category": "baking"}])
    with pytest.raises(DataError, match=r"held\.csv, row 1, column 'job_category': 'baking'"):
        train(options(data=write_ads(tmp_path / "text.csv", LABELLED_ADS), validation=held))
    assert not run_folder(options().out).exists()


def test_an_existing_folder_is_refused_before_reading_data(options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(CheckpointError, match="exists already"):
        train(options(data=tmp_path / "missing.csv"))


def test_a_missing_group_column_is_refused(options):
    with pytest.raises(DataError, match="--group-column"):
        train(options(group_column="employer"))


def test_a_diverged_training_saves_nothing(options):
    shutil.rmtree(options().out, ignore_errors=True)

    class WriteNaN(TrainerCallback):
        def on_step_end(self, *_, model, **__):
            with torch.no_grad():
                model.pooler.dense.weight.fill_(float("nan"))

    with pytest.raises(Exception, match="diverged to NaN; lower --learning-rate"):
        train(options(epochs=1, validation_share=0.0), [WriteNaN()])
    assert not options().out.exists()
