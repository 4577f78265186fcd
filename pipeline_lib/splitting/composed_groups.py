"""Products that a composed query links stay in one fold, as far as groups remain small enough to be split.

Queries chain products: a target is the reference of the next query. So the links of one query are taken or left
together, in the order of the queries, and a query whose links would make too large a group may lie across folds.
"""

from collections.abc import Iterable

import polars as pl

from pipeline_lib.splitting.composed_places import linked_products

# A group that queries join may hold this share of the catalogue, and always this many products.
MAX_SHARE, HANDFUL = 0.1, 20


def link_composed(
    products: pl.DataFrame, group_ids: pl.Series, queries: pl.DataFrame, relevance: pl.DataFrame
) -> tuple[pl.Series, list[str]]:
    """Return the column fold_group_id whose groups composed queries have joined, and notes for the user.

    `group_ids` are those of the products so far. A split that the table gives (a fold, or val) is used unchanged, so
    nothing is joined then. An id is the smallest one of the joined groups.
    """
    given = products["fold"].count() > 0 or (products["split"] == "val").any()
    composed = queries.filter(pl.col("kind") == "composed")
    if given or composed.is_empty():
        return group_ids, []
    own = products.select("product_id", group=group_ids)
    linked = linked_products(composed, relevance).join(own, on="product_id", maintain_order="left")
    sizes = dict(group_ids.value_counts(name="size").iter_rows())
    limit = max(HANDFUL, int(MAX_SHARE * len(products)))
    rows = linked.group_by("query_id", maintain_order=True).agg(pl.col("group").unique())
    roots, refused = _joined(rows["group"], sizes, limit)
    notes = []
    if refused:
        notes.append(
            f"{refused} of {len(composed)} composed queries would join groups of more than {limit} products, so they "
            "do not decide the fold; those that then lie across folds are left out of training and of figures"
        )
    return group_ids.replace(roots).alias("fold_group_id"), notes


def _joined(links: Iterable[pl.Series], sizes: dict[str, int], limit: int) -> tuple[dict[str, str], int]:
    """Return the smallest group of each group that was joined with others, and how many links were refused."""
    parent: dict[str, str] = {}
    sizes = dict(sizes)

    def root(group: str) -> str:
        while (above := parent.get(group, group)) != group:
            parent[group] = parent.get(above, above)
            group = above
        return group

    refused = 0
    for groups in links:
        roots = sorted({root(group) for group in groups})
        total = sum(sizes[one] for one in roots)
        if len(roots) > 1 and total > limit:
            refused += 1
            continue
        for other in roots[1:]:
            parent[other] = roots[0]
        sizes[roots[0]] = total
    return {group: root(group) for group in parent}, refused
