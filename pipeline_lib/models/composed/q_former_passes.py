"""The passes of a Q-Former in a composed query (SPRC, Xu et al. 2024, ICLR), on the BLIP-2 layers of transformers.

Layers apply the query feed-forward and the cross-attention to the first `query_length` tokens. It is always given: its
default takes texts for queries. SPRC's passes without image have no queries in this sense (`query_length=0`): query and
prompt tokens go through the text feed-forward, without cross-attention.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.towers.tower import Description

INIT_STD = 0.02


class QFormerPasses(nn.Module):
    """A BLIP-2 Q-Former with its text embeddings; `config` has keys of transformers' Blip2QFormerConfig."""

    def __init__(self, config: Description) -> None:
        super().__init__()
        from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig  # slow import
        from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel, Blip2TextEmbeddings

        settings: Any = Blip2QFormerConfig(**config, use_qformer_text_input=True)
        self.embeddings: Any = Blip2TextEmbeddings(settings)  # type: ignore[no-untyped-call]
        for table in (self.embeddings.word_embeddings, self.embeddings.position_embeddings):
            # As transformers initialises them within a whole model.
            nn.init.normal_(table.weight, std=INIT_STD)
        self.qformer: Any = Blip2QFormerModel(settings)

    def image_pass(self, queries: Tensor, image: Tensor) -> Tensor:
        """Return the output (batch, queries, width) of queries that attend to image tokens (batch, n, image width)."""
        return self._run(queries, image=image, query_length=queries.shape[1])

    def composed_pass(self, queries: Tensor, image: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the output (batch, queries, width) of queries beside a text, where the queries attend to the image."""
        count = queries.shape[1]
        inputs = self.embeddings(input_ids=ids, query_embeds=queries)
        return self._run(inputs, _behind(queries, mask), image, count)[:, :count]

    def text_pass(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the output (batch, length, width) of a text alone."""
        return self._run(self.embeddings(input_ids=ids), mask)

    def query_pass(self, queries: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the first text token's output (batch, width) of a text behind queries, without image.

        Positions are those of the text alone; the queries have none.
        """
        inputs = self.embeddings(input_ids=ids, query_embeds=queries)
        return self._run(inputs, _behind(queries, mask))[:, queries.shape[1]]

    def prompt_pass(self, prompts: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the class token's output (batch, width) of [class token, prompts, rest of the text], without image.

        Positions are counted over all of them.
        """
        words = self.embeddings.word_embeddings(ids)
        inputs = torch.cat([words[:, :1], prompts, words[:, 1:]], dim=1)
        positions = torch.arange(inputs.shape[1], device=ids.device)
        inputs = inputs + self.embeddings.position_embeddings(positions)
        return self._run(inputs, _behind(prompts, mask))[:, 0]

    def _run(
        self, inputs: Tensor, mask: Tensor | None = None, image: Tensor | None = None, query_length: int = 0
    ) -> Tensor:
        output: Tensor = self.qformer(
            query_embeds=inputs, query_length=query_length, attention_mask=mask, encoder_hidden_states=image
        ).last_hidden_state
        return output


def _behind(queries: Tensor, mask: Tensor) -> Tensor:
    """Return the mask (batch, queries + length) of queries and a text; the first token of a text is never masked."""
    return torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1)
