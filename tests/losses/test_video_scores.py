"""Scores of sentences and clips against slow loops; masks of frames and words; closed forms."""

import math

import pytest
import torch

from pipeline_lib.losses.video_scores import x_clip as x_clip_module
from pipeline_lib.losses.video_scores.scores import SCORES

CLIPS, SENTENCES, FRAMES, WORDS, DIM = 4, 3, 5, 6, 7
NUM_FRAMES, NUM_WORDS = (5, 1, 3, 2), (6, 2, 1)


def drawn(seed=0):
    """Embeddings of different lengths, not normalised, with values that are not zero in the padding."""
    generator = torch.Generator().manual_seed(seed)
    frames, sentence, words = (
        torch.randn(*shape, DIM, generator=generator) for shape in ((CLIPS, FRAMES), (SENTENCES,), (SENTENCES, WORDS))
    )
    sizes = ((FRAMES, NUM_FRAMES), (WORDS, NUM_WORDS))
    masks = [torch.arange(longest) < torch.tensor(counts)[:, None] for longest, counts in sizes]
    return frames, masks[0], sentence, words, masks[1]


def unit(vector):
    values = [float(value) for value in vector]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def attended(values, temperature=0.01):
    highest = max(values)
    weights = [math.exp((value - highest) / temperature) for value in values]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def slow_mean(frames, sentence, words):
    return dot(unit([sum(column) for column in zip(*frames, strict=True)]), sentence)


def slow_ts2_net(frames, sentence, words):
    cosines = [dot(frame, sentence) for frame in frames]
    norm = math.sqrt(sum(value * value for value in cosines))
    weights = [math.exp(4 * value / norm) for value in cosines]
    return sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)


def slow_x_clip(frames, sentence, words):
    video = unit([sum(column) for column in zip(*frames, strict=True)])
    matrix = [[dot(word, frame) for frame in frames] for word in words]
    of_frames = [attended([row[number] for row in matrix]) for number in range(len(frames))]
    of_words = [attended(row) for row in matrix]
    parts = (
        dot(video, sentence),
        attended([dot(word, video) for word in words]),
        attended([dot(frame, sentence) for frame in frames]),
        (attended(of_frames) + attended(of_words)) / 2,
    )
    return sum(parts) / 4


SLOW = {"mean": slow_mean, "x_clip": slow_x_clip, "ts2_net": slow_ts2_net}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [1, 2**24])
def test_scores_equal_a_slow_loop(name, block, monkeypatch):
    """Each pair by itself, without padding; also one sentence at a time."""
    monkeypatch.setattr(x_clip_module, "BLOCK", block)
    frames, frame_mask, sentence, words, word_mask = drawn()
    found = SCORES[name].score(frames, frame_mask, sentence, words, word_mask)
    for row in range(SENTENCES):
        own_words = [unit(word) for word in words[row][word_mask[row]]]
        for column in range(CLIPS):
            own_frames = [unit(frame) for frame in frames[column][frame_mask[column]]]
            expected = SLOW[name](own_frames, unit(sentence[row]), own_words)
            assert found[row, column].item() == pytest.approx(expected, abs=1e-5), (row, column)


@pytest.mark.parametrize("name", SCORES)
def test_padding_changes_nothing(name):
    """Other values in the padding, and more of it, to the bit."""
    frames, frame_mask, sentence, words, word_mask = drawn()
    found = SCORES[name].score(frames, frame_mask, sentence, words, word_mask)
    other = drawn(seed=9)
    frames = torch.where(frame_mask[..., None], frames, 1e4 * other[0])
    words = torch.where(word_mask[..., None], words, -1e4 * other[3])
    assert torch.equal(SCORES[name].score(frames, frame_mask, sentence, words, word_mask), found)
    frames, words = torch.cat([frames, frames], 1), torch.cat([words, words], 1)
    masks = [torch.cat([mask, torch.zeros_like(mask)], 1) for mask in (frame_mask, word_mask)]
    assert torch.allclose(SCORES[name].score(frames, masks[0], sentence, words, masks[1]), found, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_scores_do_not_depend_on_the_order_of_frames_and_words(name):
    frames, frame_mask, sentence, words, word_mask = drawn()
    found = SCORES[name].score(frames, frame_mask, sentence, words, word_mask)
    again = SCORES[name].score(frames.flip(1), frame_mask.flip(1), sentence, words.flip(1), word_mask.flip(1))
    assert torch.allclose(found, again, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_one_frame_and_one_word_that_is_the_sentence_give_the_cosine(name):
    frames, _, sentence, _, _ = drawn()
    one, all_true = frames[:, :1], [torch.ones(count, 1, dtype=torch.bool) for count in (CLIPS, SENTENCES)]
    found = SCORES[name].score(one, all_true[0], sentence, sentence[:, None], all_true[1])
    expected = torch.nn.functional.cosine_similarity(sentence[:, None], one[:, 0][None], dim=-1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_frame_that_shows_the_sentence_counts_more_than_in_the_mean():
    """One frame of four is the sentence, the others are orthogonal to it: 1/2 by the mean of the frames."""
    frames, mask = torch.eye(4)[None], torch.ones(1, 4, dtype=torch.bool)
    sentence, words = torch.eye(4)[:1], torch.eye(4)[:1, None]
    scores = {name: one.score(frames, mask, sentence, words, mask[:, :1]).item() for name, one in SCORES.items()}
    assert scores["mean"] == pytest.approx(0.5)
    assert scores["ts2_net"] == pytest.approx(math.exp(4) / (math.exp(4) + 3))
    assert scores["x_clip"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
