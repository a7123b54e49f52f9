from dataclasses import replace

from app.core.served_model import CompletedSwap, ServedModel
from app.core.types import ModelIdentity

OLD = ServedModel(
    name="demo",
    revision="1",
    device="cpu",
    dtype="float32",
    heads={},
    parameters=1,
    max_length=512,
    max_windows=4,
)
NEW = replace(OLD, revision="2")


def test_identity_is_name_and_revision():
    assert OLD.identity == ModelIdentity("demo", "1")


def test_swap_to_another_revision_names_both_models():
    swap = CompletedSwap(OLD, NEW, 1.25)
    assert swap.changed
    assert str(swap) == (
        "serves demo, revision 2, on cpu in float32 after 1.2 s, "
        "no longer demo, revision 1, on cpu in float32"
    )


def test_swap_to_the_same_model_says_that_nothing_changed():
    swap = CompletedSwap(OLD, replace(OLD), 1.25)
    assert not swap.changed
    assert str(swap) == "serves demo, revision 1, on cpu in float32 already"
