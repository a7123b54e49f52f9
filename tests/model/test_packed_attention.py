import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)

from app.model.packed_attention import packed_attention

LENGTHS = [3, 1, 7, 2]


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(0)
    shape = (1, 4, sum(LENGTHS), 8)
    return [torch.randn(shape, generator=generator) for _ in range(3)]


def attend(qkv, lengths=LENGTHS, queries=None, **options):
    queries = queries or lengths
    given, weights = packed_attention(
        torch.nn.Identity(),
        *qkv,
        None,
        cu_seq_lens_q=torch.tensor([0, *queries]).cumsum(0).int(),
        cu_seq_lens_k=torch.tensor([0, *lengths]).cumsum(0).int(),
        max_length_q=max(queries),
        max_length_k=max(lengths),
        **options,
    )
    assert weights is None
    return given


def test_a_packed_row_equals_block_diagonal_attention(qkv):
    mask = torch.block_diag(*[torch.ones(n, n) for n in LENGTHS]).bool()
    expected = F.scaled_dot_product_attention(*qkv, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(attend(qkv), expected, atol=1e-6, rtol=0)


def test_the_scaling_replaces_the_default(qkv):
    mask = torch.block_diag(*[torch.ones(n, n) for n in LENGTHS]).bool()
    expected = F.scaled_dot_product_attention(*qkv, attn_mask=mask, scale=0.9).transpose(1, 2)
    torch.testing.assert_close(attend(qkv, scaling=0.9), expected, atol=1e-6, rtol=0)
    assert (attend(qkv, scaling=0.9) - attend(qkv)).abs().max() > 0.01


def test_a_window_does_not_depend_on_the_others(qkv):
    before = attend(qkv)
    # The third window becomes infinite.
    for tensor in qkv:
        tensor[:, :, 4:11] = float("inf")
    after = attend(qkv)
    untouched = [*range(4), *range(11, 13)]
    torch.testing.assert_close(after[:, untouched], before[:, untouched], atol=0, rtol=0)


def test_a_subset_of_queries_gives_a_subset_of_the_output(qkv):
    query, key, value = qkv
    first = [0, 3, 4, 11]
    given = attend([query[:, :, first], key, value], queries=[1] * len(first))
    torch.testing.assert_close(given, attend(qkv)[:, first], atol=1e-6, rtol=0)


def test_padding_is_not_attended_to_and_its_output_is_zero(qkv):
    padded = [torch.cat([tensor, torch.full((1, 4, 3, 8), torch.nan)], dim=2) for tensor in qkv]
    given = attend(padded)
    torch.testing.assert_close(given[:, :-3], attend(qkv), atol=0, rtol=0)
    assert (given[:, -3:] == 0).all()


def test_one_window_is_plain_attention(qkv):
    expected = F.scaled_dot_product_attention(*qkv).transpose(1, 2)
    torch.testing.assert_close(attend(qkv, [sum(LENGTHS)]), expected, atol=1e-6, rtol=0)


def test_a_mask_or_dropout_is_refused(qkv):
    bounds = torch.tensor([0, 13], dtype=torch.int32)
    with pytest.raises(ValueError, match="neither a mask nor dropout"):
        packed_attention(
            torch.nn.Identity(),
            *qkv,
            torch.ones(1),
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=13,
            max_length_k=13,
        )
    with pytest.raises(ValueError, match="neither a mask nor dropout"):
        attend(qkv, dropout=0.1)
