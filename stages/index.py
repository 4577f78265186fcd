"""Builds one FAISS index over the products that one fold's model embedded, its scales fused.

    python -m stages.index --kind flat --fold 0

The manifest carries the model's and the preprocessing's fingerprints, so that a search with another model is refused.
"""

import argparse

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.ensembling.embeddings import fuse_scales, fused_identity
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Maker, build_index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(INDEX_KINDS))
    parser.add_argument("--fold", required=True, type=int)
    asked = parser.parse_args()
    with stage("stages.index") as run:
        params = run.section(IndexParams)
        scales = run.value("plan.scales", list[int])
        members = open_members(paths.embed_of, [asked.fold], scales)
        stores = [member.products for member in members if member.products is not None]
        if not stores:
            raise ValueError(
                f"{members[0].folder}: the model has no embeddings to index; give losses.info_nce, or another loss "
                "that compares images and texts, a weight above 0, or set plan.index to []"
            )
        product_ids = stores[0].ids
        with fresh_folder(paths.index_of(asked.kind, asked.fold)) as out:
            maker = Maker(*fused_identity(stores))
            manifest = build_index(out, asked.kind, product_ids, fuse_scales(stores, product_ids), maker, params)
        got = ", ".join(f"{name} {value}" for name, value in manifest["settings"].items())
        print(
            f"{asked.kind}: {manifest['count']} products of {manifest['dim']} dimensions" + (f" ({got})" if got else "")
        )


if __name__ == "__main__":
    main()
