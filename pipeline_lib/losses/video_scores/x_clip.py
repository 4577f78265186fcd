"""The score of X-CLIP (Ma et al., ACM MM 2022, arXiv:2207.07285), over stored embeddings of frames and words.

It is the mean of four similarities of a sentence and a clip: video-sentence, video-word, sentence-frame and frame-word.
Each that compares several frames or words is reduced by attention over the similarity matrix (AOSM): a softmax of the
similarities, divided by 0.01, weights them. Frame-word is reduced words first and frames first, and both are averaged.

Left out is what the published model trains beside its towers: the temporal transformer that gives its video vector
(here the mean of the frames), and seven square matrices that start as identities (here they are). Padding of words and
frames is masked; the published code masks it in no softmax. This is not the X-CLIP of transformers, an action model.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.losses.video_scores.attention import attend, mean_frame

TEMPERATURE = 0.01
# Similarities of words and frames that are in memory at once: 64 MiB of float32.
BLOCK = 2**24


def x_clip(
    frames: Tensor, frame_mask: Tensor, sentence: Tensor, words: Tensor | None = None, word_mask: Tensor | None = None
) -> Tensor:
    """Return scores (sentences, clips), means of cosines.

    frames (clips, frames, dim), frame_mask (clips, frames), sentence (sentences, dim), words (sentences, words, dim),
    word_mask (sentences, words).
    """
    assert words is not None and word_mask is not None, "X-CLIP compares words"
    frames, sentence, words = (functional.normalize(value, dim=-1) for value in (frames, sentence, words))
    video = mean_frame(frames, frame_mask)
    video_sentence = sentence @ video.T
    video_word = attend(words @ video.T, word_mask[..., None], 1, TEMPERATURE)
    by_frame = torch.einsum("sd,ctd->sct", sentence, frames)
    sentence_frame = attend(by_frame, frame_mask[None], 2, TEMPERATURE)
    step = max(1, BLOCK // max(1, words.shape[1] * frame_mask.numel()))
    frame_word = torch.cat([
        _frame_word(frames, frame_mask, words[start : start + step], word_mask[start : start + step])
        for start in range(0, max(1, len(words)), step)
    ])  # fmt: skip
    return (video_sentence + video_word + sentence_frame + frame_word) / 4


def _frame_word(frames: Tensor, frame_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
    """Return the frame-word similarities of some sentences, (sentences, clips)."""
    similarities = torch.einsum("sld,ctd->slct", words, frames)
    of_frames = attend(similarities, word_mask[:, :, None, None], 1, TEMPERATURE)
    of_words = attend(similarities, frame_mask[None, None], 3, TEMPERATURE)
    frames_last = attend(of_frames, frame_mask[None], 2, TEMPERATURE)
    words_last = attend(of_words, word_mask[..., None], 1, TEMPERATURE)
    return (frames_last + words_last) / 2
