"""The composed queries of the built-in sample: sentences name the change, answers fit it, splits share no family."""

import csv
import itertools
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shop.composed import (
    ATTRIBUTES,
    HELD_OUT,
    QUERY_COLUMNS,
    SOFT,
    SUBSET,
    TARGET,
    changes_between,
    make_composed,
    make_products,
    make_queries,
)
from shop.edits import FROM_PLAIN, JOINED, OPEN, PARTS, PRINTED, PRINTS, SINGLE, TO_PLAIN, WORDS, Change, language_of
from shop.words import PATTERNS

from pipeline_lib.datasets.csv_table import read_csv_table
from pipeline_lib.datasets.queries_csv import with_queries
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

FAMILIES, SEED = 160, 13
FEW = 6


@pytest.fixture(scope="module")
def families():
    return make_products(FAMILIES, SEED)


@pytest.fixture(scope="module")
def queries(families):
    return make_queries(families, SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composed")
    make_composed(folder, FEW, SEED)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def looks(product):
    return {name: getattr(product.item, name) for name in ATTRIBUTES}


def changes_of(query, families):
    """Each attribute of the reference with the values of its targets, where they differ."""
    family = families[query.reference.family]
    targets = [product for product in family if query.grades.get(product.product_id) == TARGET]
    values = {name: {looks(target)[name] for target in targets} for name in ATTRIBUTES}
    reference = looks(query.reference)
    return {name: (reference[name], new) for name, new in values.items() if new != {reference[name]}}


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes_and_another_seed_others(written, tmp_path):
    for name, seed, jobs in (("again", SEED, 2), ("other", SEED + 1, 1)):
        (tmp_path / name).mkdir()
        make_composed(tmp_path / name, FEW, seed, jobs)
    assert files(tmp_path / "again") == files(written) != files(tmp_path / "other")


@pytest.mark.parametrize("seed", [1, 2, SEED])
def test_families_are_look_alikes_of_one_split_and_no_two_members_are_equal(seed):
    families = make_products(FAMILIES, seed)
    assert len(families) == FAMILIES and sum(map(len, families)) >= 1000
    for family in families:
        assert len(family) >= SUBSET
        assert len({(product.item.kind, product.item.material, product.split) for product in family}) == 1
        assert len({tuple(looks(product).values()) for product in family}) == len(family)
        assert all(product.item.colour != product.item.second for product in family)
        # Each differs from the first in one or two attributes.
        assert {len(changes_between(family[0], product)) for product in family[1:]} <= {1, 2}
    assert len({product.product_id for family in families for product in family}) == sum(map(len, families))


def test_test_has_combinations_that_no_other_split_has_and_every_value_is_trained(families):
    pairs, values = defaultdict(set), defaultdict(set)
    for product in itertools.chain.from_iterable(families):
        split = "test" if product.split == "test" else "train"
        pairs[split].add((product.item.colour, product.item.pattern))
        for name in (*ATTRIBUTES, "kind"):
            values[split].add((name, getattr(product.item, name)))
    assert pairs["test"] - pairs["train"] == HELD_OUT and len(HELD_OUT) == 8
    assert values["test"] <= values["train"]
    count = Counter(product.split for family in families for product in family)
    assert count["train"] > 2 * count["test"] > 2 * count["val"] > 200


def test_the_targets_are_those_products_of_the_family_that_fit_and_the_soft_answers_those_of_others(families, queries):
    """A slow loop over all products for each query, from what the sentence is about."""
    split_of = {product.product_id: product.split for family in families for product in family}
    everything = list(itertools.chain.from_iterable(families))
    for query in queries[::40]:
        changed = changes_of(query, families)
        shown = [looks(product) for product in everything if query.grades.get(product.product_id) == TARGET]
        closed = {name: next(iter(new)) for name, (_, new) in changed.items() if "several_targets" not in query.slices}
        wanted = looks(query.reference) | closed
        expected = {}
        for product in everything:
            own, family = looks(product), product.family == query.reference.family
            if family and closed and own == wanted:
                expected[product.product_id] = TARGET
            if family and not closed and list({n for n in own if own[n] != wanted[n]}) == list(changed):
                expected[product.product_id] = TARGET
            compared = {"colour", "pattern", *closed}
            kind = product.item.kind == query.reference.item.kind
            fits = any(all(own[name] == target[name] for name in compared) for target in shown)
            if not family and kind and fits and product.split == query.reference.split:
                expected[product.product_id] = SOFT
        assert query.grades == expected and TARGET > SOFT, query
        assert {split_of[product_id] for product_id in (*query.grades, *query.subset)} == {query.reference.split}


def test_a_sentence_names_the_new_values_and_none_that_is_neither_old_nor_new(families, queries):
    for query in queries:
        language, changed = language_of(query.text), changes_of(query, families)
        text = query.text.lower()
        assert 1 <= len(changed) <= 2
        for table in ("pattern", "build"):
            allowed = {value for old, new in [changed.get(table, ("", ()))] for value in (old, *new)}
            for value, names in WORDS[table].items():
                if value not in allowed and (table, value) != ("pattern", "plain"):
                    own = [*getattr(names, language), *getattr(PRINTS.get(value, ((), ())), language, ())]
                    assert not any(word in text.split() or (language == "zh" and word in text) for word in own), query
        for name, (old, new) in changed.items():
            if "several_targets" in query.slices or (name, *new) == ("pattern", "plain"):
                words = [word for value in (old, *new) for word in getattr(WORDS[name][value], language)]
                words += [*getattr(PRINTS.get(old, ((), ())), language, ()), "another", "换个", "不要", "plain", "no"]
            else:
                (value,) = new
                words = [*getattr(WORDS[name][value], language), *getattr(PRINTS.get(value, ((), ())), language, ())]
            assert any(word in text for word in words), query


def test_paraphrases_are_different_sentences_in_both_languages_for_one_request(queries):
    groups = defaultdict(list)
    for query in queries:
        for name in query.slices:
            if name.startswith("paraphrase_"):
                groups[name].append(query)
    assert len(groups) == 2 * FAMILIES
    for group in groups.values():
        assert len({(query.reference.product_id, tuple(query.grades.items())) for query in group}) == 1
        assert len({query.text for query in group}) == len(group) >= 3
        assert {language_of(query.text) for query in group} == {"en", "zh"}


def test_slices_subsets_and_counts(families, queries):
    family_of = {product.product_id: product.family for family in families for product in family}
    assert len(queries) > 3000 and len({query.query_id for query in queries}) == len(queries)
    for query in queries:
        targets = [product_id for product_id, grade in query.grades.items() if grade == TARGET]
        assert len(query.subset) == len(set(query.subset)) == SUBSET and query.reference.product_id not in query.grades
        assert {query.reference.product_id, *targets} <= set(query.subset)
        assert {family_of[product_id] for product_id in query.subset} == {query.reference.family}
        assert ("several_targets" in query.slices) == (len(targets) > 1)
        # A held-out combination is a slice of test alone.
        assert query.reference.split == "test" or "unseen_combination" not in query.slices
    shown = Counter(name for query in queries for name in query.slices if not name.startswith("paraphrase_"))
    kinds = {*ATTRIBUTES, "two_attributes"}
    assert sum(shown[name] for name in kinds) == shown["en"] + shown["zh"] == len(queries)
    assert min(shown.values()) > 50 and 0.45 < shown["en"] / len(queries) < 0.55


def test_the_catalogue_reads_every_query_and_rejects_none(written):
    with (written / "queries.csv").open(encoding="utf-8", newline="") as stream:
        assert tuple(next(csv.reader(stream))) == QUERY_COLUMNS
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    params["data"] |= {"root": str(written), "queries": "queries.csv"}
    data = parse_section(DataParams, params)
    records = with_queries(read_csv_table(data), data)
    queries = make_queries(make_products(FEW, SEED), SEED)
    assert records.rejects.is_empty() and records.composed.num_dropped == 0
    assert records.composed.queries["query_id"].to_list() == [query.query_id for query in queries]
    grades = defaultdict(dict)
    for query_id, product_id, grade in records.composed.relevance.iter_rows():
        grades[query_id][product_id] = grade
    assert grades == {query.query_id: query.grades for query in queries}
    assert set(records.products["split"]) <= {"train", "val", "test"}
    media = records.products["media"].to_list()
    assert len(media) == FEW * 8 and all(len(photos) == 1 for photos in media)


def test_photos_of_a_family_are_small_and_differ(written):
    shown = [Image.open(written / f"images/000-{member}.jpg") for member in range(8)]
    assert all(64 <= min(image.size) <= 72 and max(image.size) <= 100 for image in shown)
    pixels = [np.asarray(image.resize((64, 64)), dtype=float) for image in shown]
    assert min(np.abs(one - other).mean() for one, other in itertools.combinations(pixels, 2)) > 8


def test_every_kind_of_change_has_sentences_in_both_languages():
    assert (
        PARTS.keys() == SINGLE.keys() == {*WORDS, TO_PLAIN, FROM_PLAIN}
        and PRINTED in WORDS
        and OPEN.keys() <= WORDS.keys()
    )
    assert PRINTS.keys() == PATTERNS.keys() - {"plain"}
    for names in (*SINGLE.values(), *OPEN.values(), JOINED):
        assert len(names.en) >= 2 and len(names.zh) >= 2 and all(text.isascii() for text in names.en)
    assert Change("colour", "red", None).new is None
