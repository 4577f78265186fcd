"""Paths of the stages' outs, relative to the project's root; dvc.yaml names the same paths."""

import os
from pathlib import Path

WORK = Path("data/work")
CODE = WORK / "code"
CATALOGUE = WORK / "catalogue"
FOLDS = WORK / "folds"
# Frames of clips; FRAMES is empty but for a marker file if the plan reads none.
FRAMES = WORK / "frames"
CLIPS = FRAMES / "clips"
SHARDS = WORK / "shards"
FEATURES = WORK / "features"
VIEWS = WORK / "views"
TRAIN = WORK / "train"
EMBED = WORK / "embed"
# COMPOSED/KIND/FOLD: models for composed queries, with the embeddings of their galleries.
COMPOSED = WORK / "composed"
# The store of a fused model's queries with its fusion switched off, beside that of its queries.
COMPOSED_QUERIES_OFF = "queries_fusion_off"
COMPOSED_GATES = "gates.parquet"  # in the folder of a model with a fusion
# Store of the weights of a frame attention in a folder of `embed`, (photos, 1).
FRAME_WEIGHTS = "frame_weights"
# The bank of training texts, a store beside the embeddings of a fold and of the ensemble's galleries.
QUERY_BANK = "bank"
# GALLERY/FOLD: embeddings of the photos and of the texts of all products by one fold's model, in two stores.
GALLERY = WORK / "gallery"
GALLERY_PHOTOS, GALLERY_TEXTS = "photos", "texts"
INDEX = WORK / "index"
# JUDGED/FOLD: the judged queries by one fold's model: figures of all, and a table of each.
JUDGED = WORK / "judged"
JUDGED_FIGURES, JUDGED_INTERVALS, JUDGED_QUERIES = "figures.json", "intervals.json", "queries.parquet"
ENSEMBLE = WORK / "ensemble"
# Local copies of feature stores at a URL; they can be deleted at any time.
COPIES = WORK / "copies"
BASELINES = WORK / "baselines"
EVALUATION = WORK / "evaluation"
# PHASES/NAME/FOLD: models of all phases but the last. The folders of phase `none` contain only a marker file.
PHASES = WORK / "phases"
NO_PHASE = "none"
# STARTS/NAME: trained models for a warm start. `none` is empty and means no warm start.
STARTS = Path("data/starts")
NO_START = STARTS / "none"
# PREDICTIONS/NAME/EXPERIMENT: class probabilities of other experiments. `none` is empty and means no such experiment.
PREDICTIONS = Path("data/predictions")
NO_PREDICTIONS = PREDICTIONS / "none"
# SPLITS/NAME.parquet: an assignment of products to folds that holds. `none` is empty and means no such file.
SPLITS = Path("data/splits")
NO_SPLIT = SPLITS / "none"
# JUDGEMENTS/*.csv: thumbs up and down of the search page.
JUDGEMENTS = Path("data/judgements")
REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
INTERVALS = REPORTS / "intervals.json"
PAGE = REPORTS / "index.html"
FIGURES = REPORTS / "figures"


def project_root() -> Path:
    """Return the folder of the project that DVC runs for, or the working directory."""
    return Path(os.environ.get("DVC_ROOT", "."))


def code_of(module: str) -> Path:
    """Return the list of the code that a stage's module can run."""
    return CODE / f"{module.rpartition('.')[2]}.txt"


def features_of(name: str) -> Path:
    """Return the folder of one frozen encoder's feature store."""
    return FEATURES / name


def views_of(scale: int) -> Path:
    """Return the folder of the stored views of prediction at one image size."""
    return VIEWS / str(scale)


def train_of(fold: int) -> Path:
    """Return the folder of one fold's model, history and trainable report."""
    return TRAIN / str(fold)


def phase_of(name: str, fold: int) -> Path:
    """Return the folder of one fold's model, history and trainable report after a phase."""
    return PHASES / name / str(fold)


def embed_of(fold: int, scale: int) -> Path:
    """Return the folder of the embeddings and probabilities of one fold's model at one image size."""
    return EMBED / str(fold) / str(scale)


def composed_of(kind: str, fold: int) -> Path:
    """Return the folder of one fold's model for composed queries, and of its embeddings."""
    return COMPOSED / kind / str(fold)


def gallery_of(fold: int) -> Path:
    """Return the folder of the embeddings of all products by one fold's model."""
    return GALLERY / str(fold)


def index_of(kind: str, fold: int) -> Path:
    """Return the folder of a FAISS index of one kind over all products, as one fold's model embeds them."""
    return INDEX / f"{kind}-{fold}"


def judged_of(fold: int) -> Path:
    """Return the folder of the figures of the judged queries, by one fold's model."""
    return JUDGED / str(fold)
