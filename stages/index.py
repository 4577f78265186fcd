"""Builds one FAISS index over all products, as one fold's model embeds their photos and texts.

    python -m stages.index --kind flat --fold 0

The manifest has the fingerprints of model and preprocessing, so a search with another model is refused.
"""

import argparse

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index
from pipeline_lib.retrieval.gallery_vectors import NO_EMBEDDINGS, gallery_vectors, open_gallery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(INDEX_KINDS))
    parser.add_argument("--fold", required=True, type=int)
    args = parser.parse_args()
    with stage("stages.index") as run, metered(f"index {args.kind} of fold {args.fold}") as meter:
        params, gallery = run.section(IndexParams), paths.gallery_of(args.fold)
        meter.begin("products")
        stores = open_gallery(gallery)
        if stores is None:
            raise ValueError(f"{gallery}: {NO_EMBEDDINGS}, or set plan.search to []")
        with fresh_folder(paths.index_of(args.kind, args.fold)) as out:
            product_ids, products = gallery_vectors(*stores, params.photo_weight)
            source = Fingerprints(stores.photos.header.encoder, stores.photos.header.preprocessing)
            meter.announce(f"{len(product_ids):,} products of {products.shape[1]} dimensions, on the CPU")
            with meter.beating():
                manifest = build_index(out, args.kind, product_ids, products, source, params)
                meter.add(len(product_ids))
        settings = ", ".join(f"{name} {value}" for name, value in manifest["settings"].items())
        meter.finish(f" ({settings})" if settings else "")


if __name__ == "__main__":
    main()
