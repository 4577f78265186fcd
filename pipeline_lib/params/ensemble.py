"""How predictions of folds, scales and other experiments are fused."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import FilePath

PredictionFormat = Literal["none", "muge", "chinese_clip"]
MeanKind = Literal["arithmetic", "geometric"]


class EnsembleParams(Section):
    """Fusion of predictions over image sizes (scales) and, for test, over folds."""

    section: ClassVar[str] = "ensemble"
    mean: MeanKind = Field(description="Mean of class probabilities: arithmetic | geometric.")
    weights: Literal["uniform", "fitted"] = Field(
        description="Weights of the scales and of other experiments: uniform | fitted (minimal out-of-fold log loss; "
        "the metrics of a fold use weights fitted on the other folds)."
    )
    temperature: Literal["none", "fitted"] = Field(
        description="Calibration: none | fitted (temperature scaling, fitted after the weights in the same way)."
    )
    fuse_with: FilePath = Field(
        description="Folder with class predictions of other experiments to fuse with. Each experiment has the weight "
        "of all scales of this run together, or a fitted one. `vitrine keep-predictions EXPERIMENT... NAME` creates "
        "data/predictions/NAME. The empty folder data/predictions/none = off."
    )
    depth: int = Field(gt=0, description="Products per query in rankings.parquet.")
    predictions: PredictionFormat = Field(
        description="Prediction files for a benchmark, with the 10 best images per query: none | muge | chinese_clip."
    )
