from itertools import pairwise

from app.text.window_spans import window_spans


def cases():
    """Yield lengths, rooms, overlaps and limits."""
    for room in (3, 4, 7, 29, 100):
        for overlap in {0, room // 8, room // 2}:
            for limit in (1, 2, 4, 9):
                for length in [*range(4 * room + 3), 9 * room, 11 * room]:
                    yield length, room, overlap, limit


def test_spans_fit_are_in_order_and_leave_no_gap():
    for case in cases():
        length, room, _, limit = case
        parts = window_spans(*case)
        assert 1 <= len(parts) <= limit, case
        assert parts[0][0] == 0, case
        assert parts[-1][1] <= length, case
        assert all(end - start <= room for start, end in parts), case
        assert all(before[1] >= after[0] for before, after in pairwise(parts)), case
        assert all(before[0] < after[0] for before, after in pairwise(parts)), case


def test_spans_cover_the_text_up_to_the_limit():
    for case in cases():
        length, room, overlap, limit = case
        most = room + (limit - 1) * (room - overlap)
        assert window_spans(*case)[-1][1] == min(length, most), case


def test_spans_are_equal_and_share_at_least_the_overlap():
    for case in cases():
        _, _, overlap, _ = case
        parts = window_spans(*case)
        assert len({end - start for start, end in parts}) == 1, case
        assert all(before[1] - after[0] >= overlap for before, after in pairwise(parts)), case


def test_spans_are_not_longer_than_needed():
    """One token less a span would leave a part of the text uncovered."""
    for case in cases():
        _, _, overlap, _ = case
        parts = window_spans(*case)
        shorter = parts[0][1] - 1
        assert shorter * len(parts) - overlap * (len(parts) - 1) < parts[-1][1] or not shorter, case


def test_spans_are_not_more_than_needed():
    for case in cases():
        length, room, overlap, _ = case
        count = len(window_spans(*case))
        assert count == 1 or length > room + (count - 2) * (room - overlap), case
