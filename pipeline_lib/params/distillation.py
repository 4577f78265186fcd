"""What the losses that learn from teachers need of the stage `teacher`: the words that a score compares.

Only params are read, so the first stage of the pipeline can refuse settings that do not fit each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.losses import LossesParams, VideoScore
from pipeline_lib.params.section import parse_section

# Scores that compare words.
WORD_SCORES: tuple[VideoScore, ...] = ("x_clip",)


def check_distillation(params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a loss compares words that no teacher stores."""
    losses = parse_section(LossesParams, dict(params))
    coarse, features = losses.coarse_distillation, parse_section(FeaturesParams, dict(params))
    compared = [name for name, score in coarse.score.items() if score in WORD_SCORES]
    if coarse.weight > 0 and compared and not features.teacher_words:
        key = f"losses.coarse_distillation.score.{compared[0]}"
        raise ValueError(
            f"{path}: {key} = {coarse.score[compared[0]]} compares words, which teachers store only if "
            "features.teacher_words = true; set it, or another score"
        )
