"""The scores of a sentence and a clip by a teacher's stored embeddings; each fine-grained teacher is one of them."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pipeline_lib.losses.video_scores.frame_mean import frame_mean
from pipeline_lib.losses.video_scores.ts2_net import ts2_net
from pipeline_lib.losses.video_scores.x_clip import x_clip
from pipeline_lib.params.losses import VideoScore


class Score(NamedTuple):
    """A function(frames, frame mask, sentences, words, word mask) -> (sentences, clips); `words` if it reads words."""

    score: Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
    words: bool


SCORES: dict[VideoScore, Score] = {
    "mean": Score(frame_mean, False),
    "x_clip": Score(x_clip, True),
    "ts2_net": Score(ts2_net, False),
}
