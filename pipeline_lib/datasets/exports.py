"""Column names of common shop exports and public tables, which are recognised by their headings.

A new one is an entry of EXPORTS. Headings are compared as `heading` writes them. These are the headings that public
templates, tables and programs for these shops have; no export of a live shop was at hand.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

SEPARATORS = re.compile(r"[\s_-]+")


@dataclass(frozen=True)
class Export:
    """One kind of export: the headings that mark it, and the headings of each role.

    Of `text` and `image` all columns found are read, in this order; of every other role the first one found.
    With `photos_in_more_rows` a row without a text adds its photos to the first row of the same id.
    """

    marks: frozenset[str]
    roles: dict[str, tuple[str, ...]]
    photos_in_more_rows: bool = False


def _export(marks: str, photos_in_more_rows: bool = False, **roles: str) -> Export:
    return Export(
        frozenset(marks.split()), {role: tuple(names.split()) for role, names in roles.items()}, photos_in_more_rows
    )


EXPORTS = {
    "Shopify": _export(
        "handle title image_src", photos_in_more_rows=True,
        id="handle", label="type product_category", text="title body_(html)", image="image_src",
    ),
    "Shopify (URL handle)": _export(
        "url_handle title product_image_url", photos_in_more_rows=True,
        id="url_handle", label="type product_category", text="title description", image="product_image_url",
    ),
    "WooCommerce": _export(
        "type sku name images", id="id sku", label="categories", text="name short_description description",
        image="images",
    ),
    "Magento": _export(
        "sku attribute_set_code product_type", id="sku", label="categories attribute_set_code",
        text="name short_description description", image="base_image additional_images",
    ),
    "Amazon listings report": _export(
        "item_name seller_sku", id="seller_sku", text="item_name item_description", image="image_url",
    ),
    "Google Merchant feed": _export(
        "id title image_link", id="id", label="product_type google_product_category", text="title description",
        image="image_link additional_image_link", group="item_group_id",
    ),
    "H&M articles": _export(
        "article_id prod_name", id="article_id", label="product_type_name", text="prod_name detail_desc",
        group="product_code",
    ),
    "Fashion Product Images": _export(
        "id productdisplayname articletype", id="id", label="articletype", text="productdisplayname",
    ),
}  # fmt: skip


def heading(name: str) -> str:
    """Return a column's name as it is compared: without regard to case, and to spaces, hyphens and underscores.

    >>> heading("Image Src"), heading("seller-sku")
    ('image_src', 'seller_sku')
    """
    return name.casefold() if name.isalnum() else SEPARATORS.sub("_", name.strip().casefold())


def find_export(headings: Collection[str]) -> str | None:
    """Return the name of the export whose marks are all among the headings, or None."""
    return next((name for name, export in EXPORTS.items() if export.marks <= set(headings)), None)
