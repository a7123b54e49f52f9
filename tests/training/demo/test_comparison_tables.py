from app.cli.tables import comparison_tables
from app.model.checkpoint import open_checkpoint
from app.training.demo.comparison_tables import HEADING, extend_card, markdown


def test_the_card_has_both_tables_and_the_limits(made):
    card = (made.out / "README.md").read_text(encoding="utf-8")
    assert "doppelkopf train --data" in card
    assert card.count(HEADING) == card.count("## Limits") == 1
    assert "| majority class | " in card
    assert "| acme | 3 | " in card
    assert "the best simple contender is " in card
    assert "The 5 hand-labelled ads (3 of CH, 2 of DE)" in card


def test_extending_a_card_twice_replaces_the_comparison(made):
    checkpoint = open_checkpoint(made.out)
    card = (made.out / "README.md").read_text(encoding="utf-8")
    assert extend_card(card, checkpoint.metrics["hand_labelled"]) == card
    assert card.count(HEADING) == 1


def test_a_markdown_table_has_a_header_and_right_aligned_numbers():
    assert list(markdown([["source", "ads"], ["acme", "3"]])) == [
        "| source | ads |",
        "|---|---:|",
        "| acme | 3 |",
    ]


def test_the_command_shows_two_tables_a_head(made):
    shown = list(comparison_tables(open_checkpoint(made.out)))
    # For each head the contenders (the keyword rules predict no category), and the sources and
    # countries with a row for all ads.
    assert [table.row_count for table in shown if not isinstance(table, str)] == [4, 5, 5, 5]
