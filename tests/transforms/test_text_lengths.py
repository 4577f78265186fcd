"""A line says how many texts are cut, and which length is enough."""

import numpy as np

from pipeline_lib.transforms.text_lengths import LONGEST, NUM_COUNTED, cut_texts


def words(count):
    """Return a text of so many words."""
    return " ".join(["mug"] * count)


def one_token_a_word(texts, max_tokens):
    """Return ids and mask of texts, one token a word."""
    lengths = np.array([min(len(text.split()), max_tokens) for text in texts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    return mask.astype(np.int64), mask


def test_a_line_says_which_share_of_the_texts_is_cut_and_which_length_is_enough():
    """Of 100 texts of 1 to 100 words, 76 have more than 24; 95 have at most 95.05 by linear interpolation, so 96."""
    texts = [words(count) for count in range(1, 101)]
    assert cut_texts(one_token_a_word, texts, 24) == [
        "text: model.text.max_tokens = 24 cuts off the end of 76% of the training texts; 95% of them have at most 96 "
        "tokens, if the tower has positions for so many"
    ]
    assert cut_texts(one_token_a_word, texts, 99)[0].startswith(
        "text: model.text.max_tokens = 99 cuts off the end of 1%"
    )
    (named,) = cut_texts(one_token_a_word, texts, 24, "sentences", "composed.q_former.max_tokens")
    assert named.startswith("text: composed.q_former.max_tokens = 24 cuts off the end of 76% of the sentences; 95%")
    assert cut_texts(one_token_a_word, texts, 100) == cut_texts(one_token_a_word, [], 24) == []


def test_of_many_texts_evenly_chosen_ones_are_counted():
    counted = []

    def tokenize(texts, max_tokens):
        counted.extend(texts)
        return one_token_a_word(texts, max_tokens)

    texts = [words(1 + 30 * (number % 2)) for number in range(20_001)]
    assert "cuts off the end of 50%" in cut_texts(tokenize, texts, 24)[0]
    assert NUM_COUNTED / 2 < len(counted) <= NUM_COUNTED
    long = [words(1 if number % 2 else LONGEST + 5) for number in range(20)]
    assert cut_texts(one_token_a_word, long, 24)[0].endswith(
        "50% of the training texts; the longest have 4,096 tokens or more"
    )
