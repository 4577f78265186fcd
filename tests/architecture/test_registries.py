"""Registries and params agree: params.yaml may name exactly the variants that have a builder."""

from typing import get_args

from pipeline_lib.datasets.readers import READERS
from pipeline_lib.ensembling.means import MEANS
from pipeline_lib.ensembling.prediction_files import PREDICTION_FORMATS
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS
from pipeline_lib.evaluation.embedding_space import PROJECTIONS
from pipeline_lib.evaluation.hubness import CORRECTIONS
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.execution.parallel import CLUSTERS
from pipeline_lib.loading.mixup import MIXES
from pipeline_lib.losses.build import DISTILLATION, LOSSES
from pipeline_lib.losses.class_weights import CLASS_WEIGHTS
from pipeline_lib.losses.composed_build import COMPOSED_LOSSES, READS
from pipeline_lib.losses.feature_distillation import DISTANCES
from pipeline_lib.losses.hard_negatives import FORMS, MINERS
from pipeline_lib.losses.triplet import TRIPLET_MINERS
from pipeline_lib.losses.video_scores.scores import SCORES
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS, CLASSIFIERS, JOINTS
from pipeline_lib.models.composed.build import COMPOSED_MODELS
from pipeline_lib.models.multimodal import SIMILARITIES
from pipeline_lib.optim.schedules import SCHEDULES
from pipeline_lib.params import composed, data, ensemble, evaluate, losses, model, plan, runtime, train, values
from pipeline_lib.params.distillation import WORD_SCORES
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.heads import LOSS_HEADS
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS
from pipeline_lib.stores.numbers import DTYPES
from pipeline_lib.towers.image_pooling import IMAGE_POOLING
from pipeline_lib.towers.kinds import IMAGE_TOWERS, TEXT_TOWERS
from pipeline_lib.towers.pooling import TEXT_POOLING
from pipeline_lib.towers.projectors import PROJECTORS
from pipeline_lib.training.samplers import SAMPLERS
from pipeline_lib.training.trainer import MONITORS
from pipeline_lib.transforms.image import AFTER_FIXED, FILTERS, FROM_PHOTO, SQUARES
from pipeline_lib.transforms.text_views import TEXT_VIEWS


def test_registries_equal_the_kinds_params_allow():
    pairs = {
        "reader": (READERS, data.ReaderKind),
        "image tower": (IMAGE_TOWERS, model.ImageTowerKind),
        "text tower": (TEXT_TOWERS, model.TextTowerKind),
        "pooling": (TEXT_POOLING, model.PoolingKind),
        "image pooling": (IMAGE_POOLING, model.ImagePoolingKind),
        "projector": (PROJECTORS, model.ProjectorKind),
        "similarity": (SIMILARITIES, model.SimilarityKind),
        "classifier": (CLASSIFIERS, model.ClassifierKind),
        "classifier inputs": (CLASSIFIER_INPUTS, model.ClassifierInputs),
        "classifier's joint": (JOINTS, model.ClassifierInputs),
        "lr schedule": (SCHEDULES, train.ScheduleKind),
        "mix": (MIXES, train.MixKind),
        "class weights": (CLASS_WEIGHTS, losses.ClassWeights),
        "index": (INDEX_KINDS, plan.IndexKind),
        "view": ({*AFTER_FIXED, *FROM_PHOTO}, values.ViewName),
        "resize mode": (SQUARES, values.ResizeMode),
        "interpolation": (FILTERS, values.Interpolation),
        "triplet negatives": (TRIPLET_MINERS, losses.TripletNegatives),
        "hard negatives": (MINERS, losses.HardNegativesChoice),
        "hard negatives' form": (FORMS, losses.HardNegativesForm),
        "video score": (SCORES, losses.VideoScore),
        "feature distance": (DISTANCES, losses.FeatureDistance),
        "mining": (SAMPLERS, train.MiningKind),
        "composed model": (COMPOSED_MODELS, composed.ComposedKind),
        "composed protocol": (COMPOSED_PROTOCOLS, composed.ComposedProtocolName),
        "protocol": (PROTOCOLS, evaluate.ProtocolName),
        "correction of hubness": (CORRECTIONS, evaluate.HubnessKind),
        "projection": (PROJECTIONS, evaluate.ProjectionKind),
        "mean": (MEANS, ensemble.MeanKind),
        "prediction format": (PREDICTION_FORMATS, ensemble.PredictionFormat),
        "text view": (TEXT_VIEWS, train.TextViewName),
        "parallel": ({"loky", *CLUSTERS}, runtime.ParallelKind),
        "best metric": (MONITORS, train.BestMetric),
        "dtype": (DTYPES, FeaturesParams.model_fields["dtype"].annotation),
    }
    for name, (registry, kinds) in pairs.items():
        assert set(registry) == set(get_args(kinds)), name


def test_every_loss_has_params_and_a_head():
    assert not set(LOSSES) & set(DISTILLATION)
    assert {*LOSSES, *DISTILLATION} == set(losses.LossesParams.model_fields) == set(LOSS_HEADS)
    for name, field in losses.LossesParams.model_fields.items():
        assert "weight" in field.annotation.model_fields, name


def test_params_know_which_scores_compare_words():
    assert set(WORD_SCORES) == {name for name, score in SCORES.items() if score.words}


def test_every_loss_of_composed_models_has_a_weight():
    assert set(COMPOSED_LOSSES) == set(READS) == set(composed.ComposedLossesParams.model_fields)
