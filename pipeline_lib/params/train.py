"""How a model is trained: trainable layers, optimizer, augmentation, batches, and when training stops."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import FROM_LIST, FilePath, Positive, Precision, Seed, ViewName

BestMetric = Literal[
    "MeanRecall", "R@1", "R@5", "R@10", "i2t_MeanRecall", "top1", "top3", "macro_f1", "balanced_accuracy", "loss"
]
ScheduleKind = Literal["cosine", "linear", "constant"]
MixKind = Literal["none", "mixup", "cutmix"]
TextViewName = Literal["none", "word_dropout", "random_swap"]
MiningKind = Literal["none", "hard"]
Depth = Annotated[int, Field(ge=0)] | Literal["all"]
TowerName = Literal["image", "text"]


class TowerFreezing(Keys):
    """Layers of one tower that are trained, where that differs from unfreeze_layers above."""

    unfreeze_layers: Depth | None = Field(
        description="Trainable layer groups of this tower, counted from the head: a number | all; null = as above."
    )
    freeze_first: Annotated[int, Field(ge=0)] | None = Field(
        description="Instead of unfreeze_layers: freeze the embeddings and this many layers after them, and train the "
        "rest; null = off."
    )
    embeddings: Literal["follow", "open", "frozen"] = Field(
        description="The first layer group: follow (the rule of the layers) | open (always trained) | frozen (never "
        "trained)."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.unfreeze_layers is not None and self.freeze_first is not None:
            raise ValueError("unfreeze_layers and freeze_first are alternatives; set one of them to null")
        return self


class TowersFreezing(Keys):
    """Exceptions from unfreeze_layers, for each tower."""

    image: TowerFreezing
    text: TowerFreezing


class TowersCheckpointing(Keys):
    """Activation checkpointing: the backward pass recomputes a tower's blocks: less memory, a third more time."""

    image: bool = Field(description="true = on for the image tower.")
    text: bool = Field(description="true = on for the text tower.")


class OpeningStep(Keys):
    """One step of train.schedule: from this epoch on, a tower's last `layers` layer groups are trained."""

    epoch: Positive = Field(description="First epoch in which they are trained; the run's first epoch is 0.")
    tower: TowerName = Field(description="image | text.")
    layers: Positive | Literal["all"] = Field(description="Layer groups counted from the head: a number | all.")


class TrainParams(Section):
    """One training run. Layer groups are counted from the head (the last layers) to the input."""

    section: ClassVar[str] = "train"
    seed: Seed = Field(
        description="Seed of training: initial weights of new layers, batches, augmentation, dropout, mixup. Folds "
        "have their own, split.seed, so runs with several of these seeds share their folds.",
    )
    unfreeze_layers: Depth = Field(
        description="Trainable layer groups of both towers, counted from the head: a number | all."
    )
    towers: TowersFreezing
    lr_decay: float = Field(
        gt=0,
        le=1,
        description="Layer-wise lr decay: each layer group's lr is this factor times that of the next group towards "
        "the head; 1 = off.",
    )
    init_from: FilePath = Field(
        description="Folder of trained models to start from instead of the weights of `model`: one model per fold (0/, "
        "1/, ...) or one for all. `vitrine keep EXPERIMENT NAME` creates data/starts/NAME. The empty folder "
        "data/starts/none = off."
    )
    init_heads: bool = Field(description="true = init_from also gives the heads; false = the towers only.")
    allow_seen: bool = Field(
        description="true = a start, a teacher or predictions to fuse with may have been trained on products that this "
        "run holds out or tests on, or not say what they were trained on; metrics.json and the report then say so. "
        "false = they are refused."
    )
    ema_decay: float = Field(
        ge=0,
        lt=1,
        description="Decay per step of the exponential moving average (EMA) of the weights, reached by a ramp: "
        "min(ema_decay, (1 + n) / (10 + n)) after n steps. If it is on, the averaged weights are evaluated and saved; "
        "0 = off.",
    )
    epochs: int = Field(
        ge=0,
        description="Number of epochs; 0 = the towers get no head and are not trained, for a project that trains the "
        "models of plan.composed alone.",
    )
    batch_size: Positive = Field(description="Products per batch.")
    accumulate: Positive = Field(
        description="Batches per optimizer step (GradCache). Losses, negatives and gradients are those of one batch of "
        "batch_size x accumulate products, in the memory of batch_size; each batch needs two forward passes."
    )
    grad_checkpointing: TowersCheckpointing
    tower_lr: float = Field(ge=0, description="Peak learning rate of the towers.")
    head_lr: float = Field(ge=0, description="Peak learning rate of all new layers on top of the towers.")
    weight_decay: float = Field(
        ge=0,
        description="Weight decay of AdamW. Biases, norms, position embeddings, class tokens, and what else an "
        "architecture names for it, have none.",
    )
    warmup_fraction: float = Field(
        ge=0, le=1, description="Fraction of all steps over which the learning rate rises linearly."
    )
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(
        description="Number of warm-up steps, instead of warmup_fraction; null = off."
    )
    lr_schedule: ScheduleKind = Field(
        description="Learning rate after the warm-up: cosine (decays to zero) | linear (decays to zero) | constant."
    )
    clip_norm: float = Field(ge=0, description="Gradients are clipped to this norm; 0 = no clipping.")
    batch_norm: Literal["batch", "running"] = Field(
        description="Statistics that trainable batch norms use in training: batch (those of the batch, as in "
        "pretraining) | running (the stored ones, as in prediction; for small data sets or images unlike those of "
        "pretraining)."
    )
    precision: Precision = Field(
        description="fp32 | tf32 (fp32 with products in TF32, on GPUs from Ampere on) | fp16 (with a loss scale; for "
        "GPUs without bf16, such as V100 and T4) | bf16 | auto (bf16 if the device supports it, else fp32; on a CPU "
        "only for models of 4 M parameters or more, because smaller ones are slower in it). model.json records which "
        "one was used."
    )
    augment: ViewName = Field(
        description="Image augmentation: none | jitter_flip (colour jitter, horizontal flip) | grayscale_blur (random "
        "grayscale and blur) | clip (resize to size + 32, random resized crop, horizontal flip)."
    )
    crop_scale: float = Field(gt=0, le=1, description="Smallest fraction of the area that clip's random crop keeps.")
    text_augment: TextViewName = Field(
        description="Text augmentation: none | word_dropout (drops random words) | random_swap (swaps random words). "
        "In Chinese text the unit is a character."
    )
    text_augment_rate: float = Field(
        ge=0, le=1, description="Probability that a word is dropped, or number of swaps per word."
    )
    photo: Literal["first", "random", "mean_pool"] = Field(
        description="Image of a product with several: first | random | mean_pool (mean of the features of all)."
    )
    mix: MixKind = Field(
        description="Blends each product and its label with another of its batch, for classifiers only: none | mixup "
        "(of stored features if they are used, otherwise of pixels and text features) | cutmix (of pixels)."
    )
    mix_alpha: float = Field(gt=0, description="Both parameters of the Beta distribution that gives the share.")
    mining: MiningKind = Field(
        description="Composition of batches: none (random) | hard (products are put beside the images that their texts "
        "were mistaken for in the previous epoch)."
    )
    mining_share: float = Field(ge=0, lt=1, description="Fraction of a batch that consists of such hard negatives.")
    text: Literal["first", "random"] = Field(
        description="Text of a product with several: first (its own) | random (one per epoch of all queries that it "
        "answers)."
    )
    use_stored_features: bool = Field(
        description="true = a tower starts from the output of the features stage instead of running its frozen part, "
        "if the result is the same: its view is stored and no stored layer is trained. Validation sees plain photos "
        "and texts, so it does so with train.augment and train.text_augment, too."
    )
    best_metric: BestMetric = Field(
        description="The best epoch by this metric of the held-out fold is saved: MeanRecall | R@1 | R@5 | R@10 | "
        "i2t_MeanRecall | top1 | top3 | macro_f1 | balanced_accuracy | loss."
    )
    patience: int = Field(
        ge=0, description="Training stops after this many epochs without improvement of best_metric; 0 = never."
    )
    unfreeze_lr_scale: float = Field(
        gt=0, description="Layer groups that `schedule` opens learn at this factor times tower_lr."
    )
    schedule: Annotated[tuple[OpeningStep, ...], FROM_LIST] = Field(
        description="Layer groups that open later, e.g. [{epoch: 3, tower: text, layers: 6}]: from epoch 3 on (the "
        "first is 0) the last 6 layer groups of the text tower are trained."
    )

    def keeps_frozen(self, tower: str) -> bool:
        """Return whether no epoch trains a layer group of a tower, however many groups it has."""
        rule: TowerFreezing = getattr(self.towers, tower)
        depth = self.unfreeze_layers if rule.unfreeze_layers is None else rule.unfreeze_layers
        opens = depth != 0 or rule.freeze_first is not None or rule.embeddings == "open"
        return not opens and all(step.tower != tower for step in self.schedule)
