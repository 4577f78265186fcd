"""The score of TS2-Net (Liu et al., ECCV 2022, arXiv:2207.07852), over stored embeddings of frames.

With c_t the cosine of the sentence and frame t, it is sum_t w_t c_t, w = softmax_t(4 c_t / ||c||), where the norm is
over the clip's frames: the sentence weights the frames.

That is the published model's last step alone. Left out is what lives inside its towers: the token shift between frames
in the image tower, the selection of patch tokens, and the temporal transformer over the selected tokens. So with the
frames of an untouched tower, this scores as TS2-Net does, but not with its frames.
"""

import torch
from torch import Tensor
from torch.nn import functional

SHARPNESS = 4.0


def ts2_net(
    frames: Tensor, frame_mask: Tensor, sentence: Tensor, words: Tensor | None = None, word_mask: Tensor | None = None
) -> Tensor:
    """Return scores (sentences, clips), weighted means of cosines.

    frames (clips, frames, dim), frame_mask (clips, frames), sentence (sentences, dim); the words are not read.
    """
    frames, sentence = functional.normalize(frames, dim=-1), functional.normalize(sentence, dim=-1)
    cosines = torch.einsum("sd,ctd->sct", sentence, frames).masked_fill(~frame_mask, 0.0)
    weights = SHARPNESS * functional.normalize(cosines, dim=-1)
    return (weights.masked_fill(~frame_mask, float("-inf")).softmax(-1) * cosines).sum(-1)
