"""The Q-Former as a composed query (SPRC, Xu et al. 2024, ICLR), on the image tokens of a frozen tower.

Z = the query tokens' output for the reference and its sentence; query = norm(text_projection(text behind Z)). A target
has one embedding for each query token. The prompt query, for the losses, sees prompt tokens in place of the reference.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.fusions import build_fusion
from pipeline_lib.models.composed.inputs import ComposedInputs, ComposedOutputs
from pipeline_lib.models.composed.q_former_passes import INIT_STD, QFormerPasses
from pipeline_lib.towers.tower import Description


class QFormerModel(ComposedModel):
    """SPRC's model; with a fusion, its queries attend to the fused tokens of the reference."""

    needs = frozenset({"tokens", "token_ids", "token_mask"})
    target_needs = frozenset({"tokens"})

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        options, dim = description["q_former"], description["embedding_dim"]
        config, count = options["config"], options["queries"]
        width, tokens = config["hidden_size"], description["widths"]["tokens"]
        gives = {"prompt_query", "query_mean", "prompt_mean"}
        self.gives = frozenset(gives if self.patches is None else gives | {"patches"})
        self.passes = QFormerPasses(config)
        self.passes.requires_grad_(not options["frozen"])
        # Not zeros, as in transformers: equal query tokens would stay equal.
        self.query_tokens = nn.Parameter(INIT_STD * torch.randn(1, count, width))
        self.prompt_tokens = nn.Parameter(INIT_STD * torch.randn(1, count, width))
        self.vision_projection = nn.Linear(width, dim)
        self.text_projection = nn.Linear(width, dim)
        self.token_projection: nn.Module = nn.Identity()
        if options["project"]:
            self.token_projection = nn.Sequential(
                nn.LayerNorm(tokens), nn.Linear(tokens, config["encoder_hidden_size"])
            )
        self.fusion = build_fusion(description, width)

    def compose(self, reference: ComposedInputs, extra: bool = True) -> ComposedOutputs:
        """Return unit query embeddings (batch, dim), and as extra the prompt query, both means and the gate."""
        inputs = self.values(reference, self.needs)
        tokens, ids, mask = inputs["tokens"], inputs["token_ids"], inputs["token_mask"]
        found = {}
        if self.fusion is not None:
            tokens, found["gate"] = self.fusion(tokens, self.passes.text_pass(ids, mask), mask)
        queries = self.query_tokens.expand(len(ids), -1, -1)
        composed = self.passes.composed_pass(queries, self.token_projection(tokens), ids, mask)
        query = self._text(self.passes.query_pass(composed, ids, mask))
        if extra:
            prompts = self.prompt_tokens.expand(len(ids), -1, -1)
            found["prompt_query"] = self._text(self.passes.prompt_pass(prompts, ids, mask))
            found["query_mean"], found["prompt_mean"] = composed.mean(dim=1), prompts.mean(dim=1)
        return ComposedOutputs(query, found)

    def encode_targets(self, target: ComposedInputs) -> Tensor:
        """Return unit embeddings (batch, query tokens, dim) of targets."""
        tokens = self.token_projection(self.values(target, self.target_needs)["tokens"])
        output = self.passes.image_pass(self.query_tokens.expand(len(tokens), -1, -1), tokens)
        return functional.normalize(self.vision_projection(output), dim=-1)

    def _text(self, output: Tensor) -> Tensor:
        return functional.normalize(self.text_projection(output), dim=-1)
