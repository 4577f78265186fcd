"""Where each stage's outs lie, relative to the project's root; dvc.yaml names the same paths."""

from pathlib import Path

WORK = Path("data/work")
CATALOGUE = WORK / "catalogue"
FOLDS = WORK / "folds"
SHARDS = WORK / "shards"
FEATURES = WORK / "features"
TRAIN = WORK / "train"
EMBED = WORK / "embed"
INDEX = WORK / "index"
ENSEMBLE = WORK / "ensemble"
# Copies of feature stores that are read from a URL; may be deleted at any time.
COPIES = WORK / "copies"
EVALUATION = WORK / "evaluation"
# Models of the phases before the last, a folder a phase and in it one a fold; that of `none` is empty but for a mark.
PHASES = WORK / "phases"
NO_PHASE = "none"
# Trained models that others start from, a folder a name; the empty one stands for no start.
STARTS = Path("data/starts")
NO_START = STARTS / "none"
# Class predictions of other experiments, a folder a name and in it one an experiment; the empty one stands for none.
PREDICTIONS = Path("data/predictions")
NO_PREDICTIONS = PREDICTIONS / "none"
REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
INTERVALS = REPORTS / "intervals.json"
PAGE = REPORTS / "index.html"
FIGURES = REPORTS / "figures"


def features_of(name: str) -> Path:
    """Feature store of one frozen encoder."""
    return FEATURES / name


def train_of(fold: int) -> Path:
    """Model, history and plan table of one fold."""
    return TRAIN / str(fold)


def phase_of(name: str, fold: int) -> Path:
    """Model, history and plan table of one fold after a phase."""
    return PHASES / name / str(fold)


def embed_of(fold: int, scale: int) -> Path:
    """Embeddings and probabilities of one fold's model at one image size."""
    return EMBED / str(fold) / str(scale)


def index_of(kind: str, fold: int) -> Path:
    """FAISS index of one kind over one fold's embeddings."""
    return INDEX / f"{kind}-{fold}"
