"""Writes the sample of composed retrieval: a photo and a sentence ("the same in red") ask for another photo.

`dvc repro` runs it as `python -m shop.composed` in data/sample. Products come in families: photos of one object that
differ in one or two attributes. A family is train, val or test as a whole, and some combinations of a colour and a
pattern are in test only, so that a model has to understand both.
"""

import csv
import io
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from shop.edits import Change, language_of, write_sentences
from shop.goods import GOODS, RARE
from shop.listing import write_listing
from shop.photos import Item, draw_photo
from shop.shapes import SHAPES
from shop.stage import run_stage
from shop.words import BUILDS, COLOURS, PATTERNS

ATTRIBUTES = ("colour", "pattern", "second", "build")
# Number of values of each attribute in a family, and of its products.
PALETTE = {"colour": 3, "pattern": 3, "second": 2, "build": 2}
MEMBERS = 8
# Of the families of each category, counted from the last: test, then val.
TEST_SHARE, VAL_SHARE = 0.25, 0.125
# Queries of a family: with one changed attribute, with two, with a value left open, and those with several sentences.
ONE_CHANGE, TWO_CHANGES, OPEN, PARAPHRASED = 12, 8, 2, 2
SENTENCES = 4
SUBSET = 6  # products, the reference included, as in CIRR
# A query's targets, and products of other families that fit its sentence as well.
TARGET, SOFT = 2, 1
SIZES = ((72, 72), (64, 72), (72, 64), (72, 96), (100, 68))
PRODUCT_COLUMNS = ("id", "title", "description", "categories", "split")
QUERY_COLUMNS = ("query_id", "reference_id", "text", "target_id", "grade", "subset", "split", "slice")
# Combinations of a colour and a pattern that only families of test have; each colour lacks one.
HELD_OUT = frozenset(zip(COLOURS, itertools.cycle(PATTERNS)))


class Product(NamedTuple):
    """One product: its family, its number there, which is the number of its photo, its item, and its split."""

    family: int
    member: int
    item: Item
    split: str

    @property
    def product_id(self) -> str:
        """Return the id in the table."""
        return f"{self.family:03d}-{self.member}"


class Query(NamedTuple):
    """A composed query with the grade of each right answer."""

    query_id: str
    reference: Product
    text: str
    grades: dict[str, int]
    subset: list[str]
    slices: list[str]


# A reference, what is to change, and the products of its family that fit.
Request = tuple[Product, tuple[Change, ...], list[Product]]


def make_products(num_families: int, seed: int) -> list[list[Product]]:
    """Return the products of each family."""
    kinds = [kind for kind in GOODS if kind != RARE]
    return [_family(number, kinds[number % len(kinds)], _split(number, num_families, len(kinds)), seed)
            for number in range(num_families)]  # fmt: skip


def _split(number: int, num_families: int, num_kinds: int) -> str:
    rounds = max(1, num_families // num_kinds)
    from_last = (rounds - number // num_kinds) / rounds
    return "test" if from_last <= TEST_SHARE else "val" if from_last <= TEST_SHARE + VAL_SHARE else "train"


def _family(number: int, kind: str, split: str, seed: int) -> list[Product]:
    rng = np.random.default_rng([seed, number, 1])
    colours, patterns = list(COLOURS), list(PATTERNS)
    chosen_patterns = [str(name) for name in rng.choice(patterns, PALETTE["pattern"], replace=False)]
    if split == "test":
        colours = [name for name in colours if any((name, pattern) in HELD_OUT for pattern in chosen_patterns)]
    chosen_colours = [str(name) for name in rng.choice(colours, PALETTE["colour"], replace=False)]
    others = [name for name in COLOURS if name not in chosen_colours]
    seconds, builds = (
        [str(name) for name in rng.choice(names, PALETTE[attribute], replace=False)]
        for names, attribute in ((others, "second"), (list(BUILDS), "build"))
    )
    looks = [look for look in itertools.product(chosen_colours, chosen_patterns, seconds, builds)
             if split == "test" or look[:2] not in HELD_OUT]  # fmt: skip
    first = looks[int(rng.integers(len(looks)))]
    near = [look for look in looks if 0 < _distance(first, look) <= 2]
    members = [first, *(near[int(place)] for place in rng.permutation(len(near))[: MEMBERS - 1])]
    material = str(rng.choice(GOODS[kind].materials))
    return [
        Product(number, place, Item(kind, colour, second, pattern, material, build, (seed, number)), split)
        for place, (colour, pattern, second, build) in enumerate(members)
    ]


def _distance(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(first != second for first, second in zip(one, other, strict=True))


def _look(product: Product) -> tuple[str, ...]:
    return tuple(getattr(product.item, attribute) for attribute in ATTRIBUTES)


def changes_between(reference: Product, target: Product) -> tuple[Change, ...]:
    """Return the attributes in which two products of a family differ."""
    pairs = zip(ATTRIBUTES, _look(reference), _look(target), strict=True)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def make_queries(families: list[list[Product]], seed: int) -> list[Query]:
    """Return the queries of all families, in their order."""
    queries: list[Query] = []
    for number, family in enumerate(families):
        alike = [product for other in families for product in other
                 if other is not family and other[0].split == family[0].split
                 and other[0].item.kind == family[0].item.kind]  # fmt: skip
        queries += _family_queries(family, alike, np.random.default_rng([seed, number, 2]))
    return queries


def _family_queries(family: list[Product], alike: list[Product], rng: np.random.Generator) -> list[Query]:
    asked = [*_requests(family, 1, ONE_CHANGE, rng), *_requests(family, 2, TWO_CHANGES, rng)]
    asked = [asked[int(place)] for place in rng.permutation(len(asked))] + _open_requests(family, rng)
    queries: list[Query] = []
    for place, (reference, changes, targets) in enumerate(asked):
        paraphrased = place < PARAPHRASED
        group = f"{family[0].family:03d}-{place:02d}"
        for text in write_sentences(changes, SENTENCES if paraphrased else 1, rng):
            query_id = f"q{group}-{len(queries):02d}"
            slices = [*_slices(changes, targets, text), *([f"paraphrase_{group}"] if paraphrased else [])]
            grades = _grades(reference, changes, targets, alike)
            queries.append(Query(query_id, reference, text, grades, _subset(reference, targets, family), slices))
    return queries


def _requests(family: list[Product], num_changes: int, count: int, rng: np.random.Generator) -> list[Request]:
    """Return requests for another product of the family that differs in so many attributes."""
    pairs = [(one, changes_between(one, other), [other]) for one in family for other in family if other is not one]
    pairs = [pair for pair in pairs if len(pair[1]) == num_changes]
    return [pairs[int(place)] for place in rng.permutation(len(pairs))[:count]]


def _open_requests(family: list[Product], rng: np.random.Generator) -> list[Request]:
    """Return requests for any other colour or pattern that several products of the family answer."""
    requests: list[Request] = []
    for reference, attribute in itertools.product(family, ("colour", "pattern")):
        fitting = [other for other in family
                   if [change.attribute for change in changes_between(reference, other)] == [attribute]]  # fmt: skip
        if len(fitting) > 1:
            requests.append((reference, (Change(attribute, getattr(reference.item, attribute), None),), fitting))
    return [requests[int(place)] for place in rng.permutation(len(requests))[:OPEN]]


def _grades(
    reference: Product, changes: tuple[Change, ...], targets: list[Product], alike: list[Product]
) -> dict[str, int]:
    """Return TARGET for the targets, and SOFT for products of other families that a buyer would take as well.

    Such a product has the category, colour and pattern of a target, and every value that the sentence names.
    """
    named = [change.attribute for change in changes if change.new is not None]
    compared = list(dict.fromkeys(["colour", "pattern", *named]))
    wanted = {tuple(getattr(target.item, name) for name in compared) for target in targets}
    soft = [other for other in alike if tuple(getattr(other.item, name) for name in compared) in wanted]
    return {**{other.product_id: SOFT for other in soft}, **{target.product_id: TARGET for target in targets}}


def _subset(reference: Product, targets: list[Product], family: list[Product]) -> list[str]:
    """Return the reference, the targets and the products of the family that are most like a target, in id order."""
    rest = [product for product in family if product is not reference and product not in targets]
    rest.sort(key=lambda product: min(_distance(_look(product), _look(target)) for target in targets))
    return sorted(product.product_id for product in [reference, *targets, *rest][:SUBSET])


def _slices(changes: tuple[Change, ...], targets: list[Product], text: str) -> list[str]:
    kind = changes[0].attribute if len(changes) == 1 else "two_attributes"
    unseen = any((target.item.colour, target.item.pattern) in HELD_OUT for target in targets)
    flags = {"several_targets": len(targets) > 1, "unseen_combination": unseen}
    return [kind, language_of(text), *(name for name, holds in flags.items() if holds)]


def encode_photo(product: Product) -> bytes:
    """Return the JPEG of a product; the products of a family show one object in other places, light and looks."""
    rng = np.random.default_rng([*product.item.seed, 4, product.member])
    size = SIZES[rng.integers(len(SIZES))]
    image = Image.fromarray(draw_photo(product.item, SHAPES[product.item.kind], product.member, size))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=int(rng.integers(80, 93)))
    return target.getvalue()


def write_photo(product: Product, folder: Path) -> None:
    """Write a product's photo as `<id>.jpg`."""
    (folder / f"{product.product_id}.jpg").write_bytes(encode_photo(product))


def write_tables(families: list[list[Product]], queries: list[Query], out: Path, seed: int) -> None:
    """Write products.csv, and queries.csv with a row for each right answer; the first has the query itself."""
    with (out / "products.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(PRODUCT_COLUMNS)
        for product in itertools.chain.from_iterable(families):
            rng = np.random.default_rng([seed, product.family, product.member, 3])
            listing = write_listing(product.item, GOODS[product.item.kind].names, rng)
            writer.writerow((product.product_id, *listing, product.item.kind, product.split))
    with (out / "queries.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(QUERY_COLUMNS)
        for query in queries:
            first = (query.reference.product_id, query.text), ("|".join(query.subset), query.reference.split)
            ordered = sorted(query.grades.items(), key=lambda answer: (-answer[1], answer[0]))
            for place, (target, grade) in enumerate(ordered):
                named, rest = first if place == 0 else (("", ""), ("", ""))
                slices = "|".join(query.slices) if place == 0 else ""
                writer.writerow((query.query_id, *named, target, grade, *rest, slices))


def make_composed(out: Path, num_families: int, seed: int, num_jobs: int = 1) -> None:
    """Write the folder of the sample; the bytes do not depend on the number of processes."""
    families = make_products(num_families, seed)
    images = out / "images"
    images.mkdir()
    products = itertools.chain.from_iterable(families)
    Parallel(n_jobs=num_jobs, batch_size=64)(delayed(write_photo)(product, images) for product in products)
    write_tables(families, make_queries(families, seed), out, seed)


def main() -> None:
    """Write the folder `composed` from the params section of that name."""
    run_stage(
        "composed",
        lambda out, params, jobs: make_composed(out, params["families"], params["seed"], jobs),
    )


if __name__ == "__main__":
    main()
