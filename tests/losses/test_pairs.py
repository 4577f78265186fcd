"""The mask of false negatives: equal to a loop over all pairs, in the memory of the mask and the lists of answers."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.batch import Batch
from pipeline_lib.losses.pairs import false_negatives, is_answer


def make_batch(size, num_texts, num_answers, seed):
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape, low=0, high=num_texts):
        return torch.randint(low, high, shape, generator=generator)

    return Batch(
        product=torch.arange(size), group=numbers(size), text=numbers(size),
        has_text=torch.ones(size, dtype=torch.bool), label=torch.zeros(size, dtype=torch.long),
        answers=numbers(size, num_answers, low=-1),
    )  # fmt: skip


@settings(max_examples=40)
@given(size=st.integers(1, 9), texts=st.integers(1, 12), answers=st.integers(0, 5), seed=st.integers(0, 99))
def test_the_mask_equals_a_loop_over_all_pairs(size, texts, answers, seed):
    batch = make_batch(size, texts, answers, seed)
    expected = [
        [
            i == j
            or bool(batch.group[i] == batch.group[j])
            or bool(batch.text[i] == batch.text[j])
            or int(batch.text[j]) in batch.answers[i].tolist()
            for j in range(size)
        ]
        for i in range(size)
    ]
    assert false_negatives(batch).tolist() == expected


@settings(max_examples=40)
@given(rows=st.integers(0, 6), columns=st.integers(0, 7), answers=st.integers(0, 4), seed=st.integers(0, 99))
def test_answers_among_other_texts_equal_a_loop(rows, columns, answers, seed):
    generator = torch.Generator().manual_seed(seed)
    lists = torch.randint(-1, 9, (rows, answers), generator=generator)
    texts = torch.randint(0, 9, (columns,), generator=generator)
    expected = [[int(text) in row for text in texts] for row in lists.tolist()]
    assert is_answer(lists, texts).tolist() == expected


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        for value in result if isinstance(result, tuple) else (result,):
            self.numel = max(self.numel, value.numel() if isinstance(value, torch.Tensor) else 0)
        return result


def test_no_tensor_is_larger_than_the_mask_or_the_lists():
    batch = make_batch(60, 500, 40, 0)
    with Largest() as largest:
        false_negatives(batch)
    assert largest.numel <= 60 * 61
