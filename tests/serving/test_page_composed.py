"""A picture or a product, and a sentence that changes it, through the page to a composed model."""

from collections.abc import Iterator

import httpx
import pytest
from running_server import running
from search_page import found, opener, search_for, shown_scores, status, violations

from pipeline_lib.serving.limits import Limits


@pytest.fixture(scope="module")
def composed_address(composing) -> Iterator[str]:
    with running(composing, Limits()) as url:
        yield url


@pytest.fixture
def open_page(browser, composed_address) -> Iterator:
    with opener(browser, composed_address) as open_one:
        yield open_one


@pytest.fixture(scope="module")
def ask(composed_address) -> Iterator:
    with httpx.Client(base_url=composed_address) as client:
        yield client.request


@pytest.mark.parametrize(
    ("locale", "words", "method"),
    [
        ("en-US", "{count} results of {count} products, ", "by the composed model “sum”"),
        ("zh-CN", "{count} 件商品中找到 {count} 个结果", "组合模型“sum”"),
    ],
)
def test_a_picture_with_a_sentence(locale, words, method, open_page, ask, composing, tmp_path):
    path = tmp_path / "own.jpg"
    path.write_bytes(ask("GET", "/api/photo", params={"id": "p8"}).content)
    page = open_page(locale=locale)
    page.set_input_files("#picture", path)
    alone = found(page)
    search_for(page, "in red")
    gallery = composing.opened[0].model.composed.search.gallery.ids
    status(page, words.format(count=len(gallery)))
    status(page, method)
    answer = ask("POST", "/api/search", data={"q": "in red"}, files={"picture": path.read_bytes()}).json()
    shown = found(page)
    assert answer["method"] == "composed sum" and shown == [row["product_id"] for row in answer["results"]]
    assert set(shown) <= set(gallery) and shown != alone
    assert shown_scores(page) == [round(row["score"], 3) for row in answer["results"]]
    assert violations(page) == []
    page.click(".card .actions button >> nth=0")  # why
    page.wait_for_selector("dialog .cards .card")
    explained = ask(
        "POST", "/api/explain", data={"q": "in red", "product": shown[0]}, files={"picture": path.read_bytes()}
    ).json()
    found_words = page.eval_on_selector_all("dialog .words th", "all => all.map(one => one.textContent)")
    assert found_words == ["in", "red"] == [one["word"] for one in explained["words"]]
    assert violations(page) == []


def test_a_product_with_a_sentence_and_its_address(open_page, ask):
    page = open_page("/?q=hat")
    first = found(page)[0]
    page.click(".card button:has-text('Search like this') >> nth=0")
    status(page, "by product")
    search_for(page, "in blue")
    status(page, "by the composed model “sum”")
    answer = ask("GET", "/api/search", params={"q": "in blue", "like": first}).json()
    assert found(page) == [row["product_id"] for row in answer["results"]]
    name = page.inner_text("#reference-name")
    page.reload()
    status(page, "by the composed model “sum”")
    assert found(page) == [row["product_id"] for row in answer["results"]]
    assert page.inner_text("#reference-name") == name
