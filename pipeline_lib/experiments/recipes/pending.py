"""Rows of the logs without a recipe, each with the feature that is missing; `vitrine recipe list` prints them.

A test compares this list and the recipes with LOGS.md: each row is in exactly one of the two.
"""

# Name of the row in LOGS.md -> why it has no recipe.
PENDING: dict[str, str] = {}
