"""The report's lines on groups of products: how many there are on each level, and what they change in the figures."""

from collections.abc import Mapping

from pipeline_lib.report.headline import percent

Facts = list[tuple[str, str]]

LEVELS = {
    "same": "The same thing",
    "perhaps": "Perhaps the same (in one fold)",
    "fold": "Groups of the folds, with equal texts",
}
SEEN = {"text": "text", "photo": "photo", "either": "text or photo"}


def group_facts(groups: Mapping[str, float]) -> Facts:
    """Return name and value of what metrics.json says under data.groups."""
    rows: Facts = []
    for level, name in LEVELS.items():
        number, products = groups[f"{level}_groups"], groups[f"{level}_products"]
        value = f"{number:,} group{'s' * (number != 1)} of {products:,} products"
        value += f", the largest of {groups[f'{level}_largest']:,}" * (number > 1)
        rows.append((name, value if number else "no group"))
    rows.append(("Right answers that these groups add", f"{groups['same_relevance_rows']:,}"))
    placed = f"{groups['placeholder_photos']:,}"
    if groups["placeholder_photos"]:
        placed += f", on {groups['placeholder_products']:,} products; they group nothing"
    rows.append(("Placeholder photos", placed))
    rows.append(("Products whose text is in another fold or split too", f"{groups['text_across_bins']:,}"))
    for key, name in SEEN.items():
        if f"test_near_{key}" in groups:
            rows.append((f"Test products with a near-equal {name} in training", percent(groups[f"test_near_{key}"])))
    return rows
