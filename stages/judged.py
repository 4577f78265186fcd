"""Measures one fold's model by the thumbs of the search page: nDCG and preference over the judged queries.

    python -m stages.judged --fold 0

Only judged products are scored, by the vectors that an index of the fold has.
"""

import argparse

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_json, write_table
from pipeline_lib.execution.meter import Meter, metered
from pipeline_lib.execution.stage import Stage, stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.judged") as run, metered(f"judged queries of fold {arguments.fold}") as meter:
        judged(run, arguments.fold, meter)


def judged(run: Stage, fold: int, meter: Meter) -> None:
    # Slow imports.
    from pipeline_lib.evaluation.judged import judged_figures, judged_table
    from pipeline_lib.serving.judged import read_grades, read_judged_vectors, score_judged
    from pipeline_lib.serving.text_embedder import TextEmbedder

    interpolation, photo_weight = run.value("embed.interpolation", float), run.value("index.photo_weight", float)
    grades = read_grades(paths.JUDGEMENTS)
    judgements = sum(map(len, grades.values()))
    meter.announce(f"{judgements:,} judgements of {len(grades):,} queries, on the CPU")
    meter.begin("queries")
    products = read_judged_vectors(paths.gallery_of(fold), grades, photo_weight)
    unknown = judgements - sum(len(products.known(own)) for own in grades.values())
    queries = list(score_judged(grades, products, TextEmbedder(paths.train_of(fold), interpolation)))
    meter.add(len(queries))
    table = judged_table(queries)
    figures, intervals = judged_figures(table)
    with fresh_folder(paths.judged_of(fold)) as out:
        write_json(out / paths.JUDGED_FIGURES, figures | {"num_judgements": judgements, "num_unknown": unknown})
        write_json(out / paths.JUDGED_INTERVALS, intervals)
        write_table(table, out / paths.JUDGED_QUERIES)
    if unknown:
        print(f"{unknown:,} judgements are of products that the gallery does not have; they are in no figure")
    if not figures["num_queries"]:
        print("no query has a right product that the gallery has, so there is no figure")


if __name__ == "__main__":
    main()
