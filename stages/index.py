"""Builds one FAISS index over all products, as one fold's model embeds their photos and texts.

    python -m stages.index --kind flat --fold 0

The manifest has the fingerprints of model and preprocessing, so a search with another model is refused.
"""

import argparse

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.meter import stage_meter
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index
from pipeline_lib.retrieval.gallery_vectors import gallery_vectors
from pipeline_lib.stores.store import HEADER, open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(INDEX_KINDS))
    parser.add_argument("--fold", required=True, type=int)
    args = parser.parse_args()
    with stage("stages.index") as run:
        params, gallery = run.section(IndexParams), paths.gallery_of(args.fold)
        meter = stage_meter(f"index {args.kind} of fold {args.fold}")
        meter.begin("products")
        if not (gallery / paths.GALLERY_PHOTOS / HEADER).is_file():
            raise ValueError(
                f"{gallery}: the model has no embeddings to index; set the weight of losses.info_nce, or "
                "of another loss that compares images and texts, above 0, or set plan.search to []"
            )
        photos, texts = (open_store(gallery / name) for name in (paths.GALLERY_PHOTOS, paths.GALLERY_TEXTS))
        with fresh_folder(paths.index_of(args.kind, args.fold)) as out:
            product_ids, products = gallery_vectors(photos, texts, params.photo_weight)
            source = Fingerprints(photos.header.encoder, photos.header.preprocessing)
            meter.announce(f"{len(product_ids):,} products of {products.shape[1]} dimensions, on the CPU")
            with meter.beating():
                manifest = build_index(out, args.kind, product_ids, products, source, params)
                meter.add(len(product_ids))
        settings = ", ".join(f"{name} {value}" for name, value in manifest["settings"].items())
        meter.finish(f" ({settings})" if settings else "")


if __name__ == "__main__":
    main()
