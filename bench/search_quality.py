"""Twenty short queries in two languages on the sample's search index: how many of the first five products are right.

    python bench/search_quality.py [--project FOLDER] [--judge FILE]

FOLDER is this project after `dvc repro`, or a clone of it. data/sample/shop/search_queries.csv says what is right. FILE
gets the judgements of the first 24 products of each query, and of all right ones, in the form of the search page: with
data/judgements/judgements.csv its view "Judged queries" shows the twenty queries.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from ruamel.yaml import YAML

SAMPLE = Path(__file__).resolve().parents[1] / "data/sample"
TOP, POOL = 5, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--judge", type=Path, help="file of judgements to add to, or to write")
    options = parser.parse_args()
    sys.path.insert(0, str(SAMPLE))
    from shop.search_queries import search_queries, share_right

    from pipeline_lib.serving.judgements import JudgementFile
    from pipeline_lib.serving.model import open_served
    from pipeline_lib.serving.query import Job, Query

    params = YAML(typ="safe").load((SAMPLE / "params.yaml").read_text(encoding="utf-8"))["products"]
    queries = search_queries(params["count"], params["seed"])
    with contextlib.chdir(options.project):
        model = open_served("sample", Path(), options.fold)
        answers = model.answer([Job(Query(query.text), POOL) for query in queries])
        pools = [[model.catalogue.ids[one.row] for one in answer.found] for answer in answers]
        if options.judge:
            file = JudgementFile(options.judge)
            for query, pool in zip(queries, pools, strict=True):
                for key in dict.fromkeys([*pool, *sorted(query.right)]):
                    file.add(query.text, key, int(key in query.right), "search_queries.csv")
    found = [pool[:TOP] for pool in pools]
    print(f"| query | right of the first {TOP} | right in the catalogue |\n|---|---|---|")
    for query, keys in zip(queries, found, strict=True):
        print(f"| {query.text} | {sum(key in query.right for key in keys)} | {len(query.right)} |")
    print(f"\nRight of the first {TOP}: {100 * share_right(queries, found):.0f} %")


if __name__ == "__main__":
    main()
