"""Builds one FAISS index over the product embeddings of one fold's model, with its scales fused.

    python -m stages.index --kind flat --fold 0

The manifest has the fingerprints of model and preprocessing, so a search with another model is refused.
"""

import argparse

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.ensembling.embeddings import fuse_scales, fused_identity
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.execution.meter import stage_meter
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(INDEX_KINDS))
    parser.add_argument("--fold", required=True, type=int)
    args = parser.parse_args()
    with stage("stages.index") as run:
        params = run.section(IndexParams)
        scales = run.value("plan.scales", list[int])
        members = open_members(paths.embed_of, [args.fold], scales)
        meter = stage_meter(f"index {args.kind} of fold {args.fold}")
        meter.begin("products")
        stores = [member.products for member in members if member.products is not None]
        if not stores:
            raise ValueError(
                f"{members[0].folder}: the model has no embeddings to index; set the weight of losses.info_nce, or "
                "of another loss that compares images and texts, above 0, or set plan.index to []"
            )
        product_ids = stores[0].ids
        with fresh_folder(paths.index_of(args.kind, args.fold)) as out:
            source = Fingerprints(*fused_identity(stores))
            products = fuse_scales(stores, product_ids)
            meter.announce(f"{len(product_ids):,} products of {products.shape[1]} dimensions, on the CPU")
            with meter.beating():
                manifest = build_index(out, args.kind, product_ids, products, source, params)
                meter.add(len(product_ids))
        settings = ", ".join(f"{name} {value}" for name, value in manifest["settings"].items())
        meter.finish(f" ({settings})" if settings else "")


if __name__ == "__main__":
    main()
