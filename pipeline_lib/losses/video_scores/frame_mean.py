"""The score of a sentence and a clip by the mean of its frames (`meanP` of CLIP4Clip, Luo et al., arXiv:2104.08860)."""

from torch import Tensor
from torch.nn import functional

from pipeline_lib.losses.video_scores.attention import mean_frame


def frame_mean(
    frames: Tensor, frame_mask: Tensor, sentence: Tensor, words: Tensor | None = None, word_mask: Tensor | None = None
) -> Tensor:
    """Return cosines (sentences, clips) of the sentences and the unit means of the clips' unit frames.

    frames (clips, frames, dim), frame_mask (clips, frames), sentence (sentences, dim); the words are not read.
    """
    return functional.normalize(sentence, dim=-1) @ mean_frame(frames, frame_mask).T
