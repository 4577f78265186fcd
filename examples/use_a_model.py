"""Embeds and classifies a product with a trained model, in plain Python: no params, no DVC, any working folder.

    python examples/use_a_model.py data/starts/NAME/0 photo.jpg "its text"

The folder is one that `vitrine keep` has written; it has all weights and the tokenizer. In the project itself,
data/work/train/0 does as well. Embeddings and probabilities are those of the pipeline at the size that the model was
trained with; embed.flip is `flip`. Of several photos of a product, average the features.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import load_model
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.resizing import Resizing
from pipeline_lib.transforms.tokenize import TextTokenizer


class Embedder:
    """A trained model for photos and texts. Embeddings (rows, embedding_dim) of a cosine model have unit length."""

    def __init__(self, folder: Path, flip: bool = True) -> None:
        self.model: ImageTextModel = load_model(folder).model
        self.tokenizer = TextTokenizer(folder / "tokenizer")
        self.flip = flip
        self.classes: list[str] = self.model.description["classes"]

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Return the embeddings of texts."""
        return self.model.embed_text(self._text_features(texts)).float()

    @torch.inference_mode()
    def embed_photos(self, photos: list[Path]) -> Tensor:
        """Return the embeddings of photos, each of them a product with one photo."""
        embeddings = torch.stack([self.model.embed_image(view) for view in self._photo_features(photos)]).mean(0)
        if self.model.description["similarity"] == "cosine":
            embeddings = functional.normalize(embeddings, dim=-1)
        return embeddings.float()

    @torch.inference_mode()
    def classify(self, photos: list[Path], texts: list[str]) -> Tensor:
        """Return the probabilities (products, classes) of products with a photo and a text each."""
        reads = CLASSIFIER_INPUTS[self.model.description["classifier"]["inputs"]]
        text = {"text": self._text_features(texts)} if "text" in reads else {}
        views = [{"image": view, **text} for view in self._photo_features(photos)]
        return torch.stack([self.model.classify(view).softmax(-1) for view in views]).mean(0).float()

    def _text_features(self, texts: list[str]) -> Tensor:
        ids, mask = self.tokenizer.encode_batch(texts, int(self.model.description["text"]["max_tokens"]))
        return self.model.encode_text(torch.as_tensor(ids), torch.as_tensor(mask))

    def _photo_features(self, photos: list[Path]) -> list[Tensor]:
        """Return the features (photos, dim) of the photos, and with `flip` those of their mirror images."""
        image = self.model.description["image"]
        size, resizing = int(image["size"]), Resizing.of(image)
        views = [fixed_view(decode(photo.read_bytes(), size), size, resizing) for photo in photos]
        pixels = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)
        one = torch.ones(len(photos), 1, dtype=torch.bool)
        return [
            self.model.pool_photos(self.model.encode_image(view), one).features
            for view in ([pixels, pixels.flip(-1)] if self.flip else [pixels])
        ]


def main(arguments: list[str]) -> None:
    """Print how similar photo and text are, and the most probable classes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("text")
    given = parser.parse_args(arguments)
    embedder = Embedder(given.folder)
    if embedder.model.description["retrieval"]:
        photo, text = embedder.embed_photos([given.photo]), embedder.embed_texts([given.text])
        print(f"similarity of photo and text, in {photo.shape[1]} dimensions: {float((photo * text).sum()):.4f}")
    if embedder.classes:
        probabilities = embedder.classify([given.photo], [given.text])[0]
        for value, number in zip(
            *(part.tolist() for part in probabilities.topk(min(3, len(probabilities)))), strict=True
        ):
            print(f"{value:7.2%}  {embedder.classes[number]}")


if __name__ == "__main__":
    main(sys.argv[1:])
