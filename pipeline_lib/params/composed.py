"""Composed retrieval: a reference product and a sentence that changes it are the query."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import Name, Positive, Precision, Seed, Width

ComposedKind = Literal["sum", "combiner", "q_former"]
COMPOSED_KINDS: tuple[ComposedKind, ...] = get_args(ComposedKind)
ComposedFusion = Literal["none", "gated", "guided"]
ComposedProtocolName = Literal["catalogue", "cirr", "fashion_iq", "circo"]
ComposedMining = Literal["none", "hard"]
ComposedMetric = Literal["R@1", "R@5", "R@10", "R@50", "R_subset@1", "mean", "mAP@5", "mAP@10"]
# Value of composed.protocol -> the figures of composed.best_metric that it has; R_subset@1 needs queries with subsets.
PROTOCOL_METRICS: dict[ComposedProtocolName, tuple[ComposedMetric, ...]] = {
    "catalogue": ("R@1", "R@5", "R@10", "R_subset@1"),
    "cirr": ("R@1", "R@5", "R@10", "R@50", "R_subset@1", "mean"),
    "fashion_iq": ("R@10", "R@50", "mean"),
    "circo": ("R@5", "R@10", "R@50", "mAP@5", "mAP@10"),
}
ComposedWeight = Annotated[float, Field(ge=0)]


class CombinerParams(Keys):
    """The Combiner of CLIP4Cir: a small network weighs the image against the text."""

    projection: Width = Field(description="Width to which image and text are projected; CLIP4Cir: 2560.")
    hidden: Width = Field(description="Hidden units; CLIP4Cir: 5120.")
    dropout: float = Field(ge=0, lt=1, description="Dropout probability; CLIP4Cir: 0.5.")


class QFormerParams(Keys):
    """The Q-Former of BLIP-2 as a composed query (SPRC)."""

    weights: Name | None = Field(
        description="Folder or hub name of a BLIP-2 model for retrieval (Salesforce/blip2-itm-vit-g), or a "
        ".safetensors or .pth file with the names of LAVIS, as SPRC saves it; null = random weights."
    )
    tokenizer: Name | None = Field(
        description="Folder or hub name of the tokenizer; null = that of the folder or hub name in weights, else the "
        "text tower's. SPRC uses bert-base-uncased."
    )
    max_tokens: int = Field(ge=3, le=65_536, description="Longer texts are truncated to this many tokens; SPRC: 32.")
    frozen: bool = Field(
        description="true = the pretrained Q-Former is not trained, only the query and prompt tokens, the projections "
        "and the fusion."
    )
    dropout: float = Field(ge=0, lt=1, description="Dropout probability; BLIP-2: 0.1.")
    queries: Width = Field(description="Query tokens, and as many prompt tokens, for weights = null; BLIP-2: 32.")
    layers: Width = Field(description="Layers, for weights = null; BLIP-2: 12.")
    width: Width = Field(description="Width, for weights = null; a multiple of heads. BLIP-2: 768.")
    heads: Width = Field(description="Attention heads, for weights = null; BLIP-2: 12.")


class ComposedLossesParams(Keys):
    """Weight of each loss in the total; 0 = off."""

    composed_contrast: ComposedWeight = Field(
        description="Cross-entropy of the target among the batch's targets, given the query (itc of SPRC)."
    )
    prompt_contrast: ComposedWeight = Field(
        description="The same for the sentence with the prompt tokens, without the image (rtc of SPRC; q_former only)."
    )
    query_alignment: ComposedWeight = Field(
        description="Distance of the mean query token from the mean prompt token (align of SPRC; q_former only)."
    )
    patch_contrast: ComposedWeight = Field(
        description="The target among the batch's targets, by the query's attention over their patches. It needs "
        "features.trunk.at = tokens."
    )


class ComposedParams(Section):
    """Models of plan.composed, whose query is a reference product and a sentence, on stored outputs of the towers."""

    section: ClassVar[str] = "composed"
    embedding_dim: Width = Field(description="Dimensions of query and target embeddings; SPRC: 256.")
    logit_scale: float = Field(
        ge=0, le=4.6052, description="Initial log of the learned scale of the similarities; SPRC: 2.6593, ln(1 / 0.07)."
    )
    fusion: ComposedFusion = Field(
        description="Fusion of the reference's image tokens with the sentence, before the model: none | gated (a gate "
        "for each channel of each token) | guided (attention over the tokens, given the sentence)."
    )
    fusion_width: Width = Field(
        description="Width of the fusion. Tokens of another width pass a projection to it and one back."
    )
    fusion_alpha: float = Field(
        description="Initial value of the learned factor of the fusion; 0 starts exactly at the model without it "
        "(sum and combiner: at that on the mean of the tokens)."
    )
    combiner: CombinerParams
    q_former: QFormerParams
    losses: ComposedLossesParams
    mask_false_negatives: bool = Field(
        description="true = targets and softer answers of a query are never its negatives, whichever row they are of."
    )
    seed: Seed = Field(description="Seed of the initial weights, batches, drawn targets and dropout.")
    epochs: int = Field(ge=0, description="Number of epochs; 0 saves and evaluates the model with its initial weights.")
    batch_size: Positive = Field(description="Queries per batch; SPRC: 64.")
    lr: float = Field(ge=0, description="Peak learning rate; SPRC: 1e-5. It falls as a cosine.")
    weight_decay: float = Field(ge=0, description="Weight decay of AdamW; biases, norms and learned tokens have none.")
    warmup_fraction: float = Field(
        ge=0, le=1, description="Fraction of all steps over which the learning rate rises linearly."
    )
    clip_norm: float = Field(ge=0, description="Gradients are clipped to this norm; 0 = no clipping.")
    precision: Precision = Field(description="auto | fp32 | tf32 | fp16 | bf16 (see train.precision).")
    mining: ComposedMining = Field(
        description="Negatives beside the targets of a batch: none | hard (from the second epoch on, products that the "
        "last epoch's model confuses with the target, look-alikes of the target, and the reference)."
    )
    mined_negatives: Positive = Field(description="Hard negatives that each query adds to its batch.")
    best_metric: ComposedMetric = Field(
        description="The best epoch by this figure of the held-out fold is saved: R@1 | R@5 | R@10 | R@50 | R_subset@1 "
        "| mean (the headline of cirr and fashion_iq) | mAP@5 | mAP@10. composed.protocol says which there are."
    )
    protocol: ComposedProtocolName = Field(
        description="What is ranked and which figures there are: catalogue (without the reference; R@1, R@5, R@10, and "
        "within subsets) | cirr (R@k, R_subset@k and their mean) | fashion_iq (products of one label with the "
        "reference; R@10, R@50 for each label and their mean) | circo (with the reference; mAP@k)."
    )
