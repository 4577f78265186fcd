"""Makes composed queries (a product and a sentence) from the columns of a table: products that differ in one of them.

    python examples/composed_queries.py [products.csv queries.csv --id id --same kind --change colour]

For each product and each other value of the column `--change` there is one query, "the same in VALUE", if products with
that value agree with it in all columns of `--same`: these are its answers. --per-product limits the queries of one
product; which ones it has is random, by --seed. Without files a small table is made.
"""

import argparse
import csv
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

Row = dict[str, str]
COLUMNS = ("query_id", "reference_id", "text", "target_id", "slice")
SMALL = "id,kind,colour\n" + "".join(
    f"{kind}-{colour},{kind},{colour}\n" for kind in ("mug", "hat") for colour in ("red", "blue", "green")
)


def queries(
    rows: Sequence[Row], names: tuple[str, Sequence[str], str], text: str, limit: int, seed: int
) -> Iterator[tuple[str, ...]]:
    """Yield rows of COLUMNS; `names` are the columns of the id, of what stays and of what changes."""
    key, same, change = names
    groups: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row[change]:
            groups[tuple(row[name] for name in same)][row[change]].append(row[key])
    for row in rows:
        found = groups[tuple(row[name] for name in same)] if row[change] else {}
        values = sorted(value for value in found if value != row[change])
        drawn = random.Random(f"{seed} {row[key]}").sample(values, min(limit, len(values)))
        for value in sorted(drawn):
            asked = (f"{row[key]}>{change}={value}", row[key], text.format(value=value))
            for target in found[value]:
                yield (*asked, target, change)


def main(arguments: list[str] | None = None) -> None:
    """Read the table and write the queries."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--id", default="id")
    parser.add_argument("--same", nargs="+", default=["kind"], help="columns in which an answer agrees")
    parser.add_argument("--change", default="colour", help="column in which it differs")
    parser.add_argument("--text", default="the same in {value}")
    parser.add_argument("--per-product", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    if options.table is not None and options.out is None:
        parser.error("name the file to write, too")
    with tempfile.TemporaryDirectory() as folder:
        table, out = options.table or Path(folder, "products.csv"), options.out or Path(folder, "queries.csv")
        if options.table is None:
            table.write_text(SMALL, encoding="utf-8")
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        names = (options.id, options.same, options.change)
        if missing := [name for name in (options.id, *options.same, options.change) if name not in (rows or [{}])[0]]:
            raise SystemExit(f"{table}: no column {missing[0]!r}")
        made = list(queries(rows, names, options.text, options.per_product, options.seed))
        with out.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([COLUMNS, *made])
        count = len({query_id for query_id, *_ in made})
        print(
            f"{count} queries with {len(made)} answers, from {len(rows)} products, e.g. {made[0] if made else 'none'}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
