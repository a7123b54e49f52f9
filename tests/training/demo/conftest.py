"""A demo checkpoint that is made once from tiny data and a tiny base encoder."""

from dataclasses import replace

import pytest

from app.engine.engine import Engine
from app.training.demo.recipe import STUDENT_OPTIONS, TEACHER_OPTIONS, make_demo
from tests.conftest import POSITIONS
from tests.support.tiny_gold import write_base_archive, write_gold
from tests.support.tiny_occupations import write_occupation_tables

TINY_STUDENT = replace(STUDENT_OPTIONS, epochs=1, batch_size=16, layers=1, max_length=POSITIONS)
TINY_TEACHER = replace(TEACHER_OPTIONS, batch_size=16, freeze_layers=1, max_length=POSITIONS)


def no_families(_taxonomy):
    """The real job families have KldB codes that the tiny taxonomy lacks."""
    return {}, ()


class MadeDemo:
    """A demo checkpoint with the folders it was made from and the messages of all calls."""

    def __init__(self, folder, base):
        self.shared = write_gold(write_occupation_tables(folder / "shared"))
        write_base_archive(self.shared, base)
        self.work, self.out, self.messages = folder / "work", folder / "store" / "demo", []

    def make(self, out, **changes):
        options = {"rows": 60, "teacher": TINY_TEACHER, "student": TINY_STUDENT} | changes
        return make_demo(
            self.shared,
            out,
            self.work,
            lambda checkpoint: Engine(checkpoint, "cpu").logits,
            self.messages.append,
            read_families=no_families,
            **options,
        )


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny_base):
    made = MadeDemo(tmp_path_factory.mktemp("recipe"), tiny_base)
    made.make(made.out)
    return made
