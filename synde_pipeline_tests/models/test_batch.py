"""A batch that rows join and leave: every row gets the logits that it would get alone."""

import pytest
import torch

from synde_pipeline.models.batch import Batch
from synde_pipeline_tests.models_for_tests import tiny

every_family = pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "gemma2"])


def alone(model, ids: list[int]):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


@every_family
def test_rows_that_join_and_leave_are_computed_as_if_alone(family):
    model = tiny(family)
    draw = torch.Generator().manual_seed(0)

    def tokens(n: int) -> list[int]:
        return torch.randint(5, 300, (n,), generator=draw).tolist()

    with torch.inference_mode():
        rows = [tokens(7), tokens(3)]
        batch = Batch(model, 0)
        batch.feed(rows)
        for new_lengths, leaving in (((12, 2), None), ((5,), 0), ((20,), 1), ((), 0), ((), 1)):
            if new_lengths:
                new = [tokens(n) for n in new_lengths]
                joining = Batch(model, 0)
                logits = joining.feed(new)
                for row, found in zip(new, logits, strict=True):
                    torch.testing.assert_close(found, alone(model, row), atol=1e-4, rtol=1e-4)
                batch.join(joining)
                rows += new
            if leaving is not None:
                kept = [k for k in range(len(rows)) if k != leaving]
                batch.keep(kept)
                rows = [rows[k] for k in kept]
            chunks = [tokens(1) for _ in rows]
            for row, chunk in zip(rows, chunks, strict=True):
                row += chunk
            for row, found in zip(rows, batch.feed(chunks), strict=True):
                torch.testing.assert_close(found, alone(model, row), atol=1e-4, rtol=1e-4)


def test_a_batch_is_no_wider_than_its_longest_row():
    model = tiny()
    with torch.inference_mode():
        batch = Batch(model, 0)
        batch.feed([[5] * 90, [6] * 4])
        batch.keep([1])
        assert batch.width == 4
        for _ in range(50):
            joining = Batch(model, 0)
            joining.feed([[7] * 4])
            batch.join(joining)
            batch.feed([[8], [8]])
            batch.keep([1])
        assert batch.width == 5


@every_family
def test_a_part_of_a_row_goes_on_as_if_only_it_had_been_read(family):
    model = tiny(family)
    with torch.inference_mode():
        batch = Batch(model, 0)
        rows = [list(range(10, 40)), list(range(50, 57))]
        batch.feed(rows)
        batch.feed([[300], [301]])
        for row, n in ((0, 30), (0, 12), (1, 8), (1, 1)):
            read = [*rows[row], 300 + row][:n]
            part = batch.part(row, n)
            assert (part.width, part.n_tokens(0)) == (n, n)
            found = part.feed([[7, 8, 9]])[0]
            torch.testing.assert_close(found, alone(model, [*read, 7, 8, 9]), atol=1e-4, rtol=1e-4)
        # What went on in the parts is not seen in the row.
        torch.testing.assert_close(batch.feed([[5], [6]])[0], alone(model, [*rows[0], 300, 5]), atol=1e-4, rtol=1e-4)
