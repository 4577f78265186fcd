"""The page in a real headless Chromium: what a person does with it, in both languages, by mouse and by keyboard."""

import pytest
from chromium import playwright
from search_page import expected, found, search_for, status, violations


def test_a_search_in_english_shows_what_the_api_returns(open_page, ask):
    page = open_page()
    status(page, "Type what you look for, or add a picture.")
    search_for(page, "red mug")
    assert found(page) == expected(ask, q="red mug")
    status(page, "24 results of 36 products")
    page.wait_for_url(lambda url: "q=red+mug" in url)
    seen = page.eval_on_selector(".card img", "one => one.decode().then(() => one.naturalWidth)")
    assert seen == 48
    assert violations(page) == []


def test_a_browser_in_chinese_gets_the_page_in_chinese_and_can_switch(open_page, ask):
    page = open_page(locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh"
    search_for(page, "红杯")
    assert found(page) == expected(ask, q="红杯")
    status(page, "36 件商品中找到 24 个结果")
    page.select_option("#language", "en")
    status(page, "24 results of 36 products")
    assert page.inner_text("button.main") == "Search" and page.get_attribute("html", "lang") == "en"
    page.reload()
    assert page.get_attribute("html", "lang") == "en"
    assert violations(page) == []


def test_a_text_that_the_model_cuts_has_a_line_above_its_results(open_page, ask):
    page = open_page()
    long = "red mug " * 40
    search_for(page, long)
    assert found(page)
    longest = ask("GET", "/api/search", params={"q": long}).json()["cut_at"]
    assert page.inner_text(".column > .cut") == f"The model read the first {longest} tokens of the text, and no more."
    page.select_option("#language", "zh")
    assert page.inner_text(".column > .cut") == f"模型只读取了文字的前 {longest} 个词元。"
    assert violations(page) == []
    page.select_option("#language", "en")
    search_for(page, "red mug")
    page.wait_for_selector(".cut", state="detached")


def test_a_picture_and_a_picture_with_words(open_page, ask, tmp_path):
    path = tmp_path / "own.jpg"
    path.write_bytes(ask("GET", "/api/photo", params={"id": "p8"}).content)
    page = open_page()
    page.set_input_files("#picture", path)
    found(page)
    status(page, "by picture")
    assert page.inner_text("#reference-name") == "Picture: own.jpg"
    alone = found(page)
    search_for(page, "hat")
    status(page, "sum of picture and text")
    form = {"files": {"picture": path.read_bytes()}}
    both = ask("POST", "/api/search", data={"q": "hat"}, **form).json()["results"]
    assert found(page) == [row["product_id"] for row in both] != alone
    page.click("#drop-reference")
    assert page.is_hidden("#reference")
    assert violations(page) == []


def test_a_picture_is_pasted_and_dropped(open_page, ask):
    page = open_page()
    send = """async (kind) => {
      const data = new DataTransfer();
      const photo = await (await fetch('/api/photo?id=p8')).blob();
      data.items.add(new File([photo], 'given.jpg', {type: photo.type}));
      const [Kind, name] = kind === 'paste' ? [ClipboardEvent, 'clipboardData'] : [DragEvent, 'dataTransfer'];
      const event = new Kind(kind, {[name]: data, bubbles: true, cancelable: true});
      document.getElementById('q').dispatchEvent(event);
    }"""
    page.evaluate(send, "paste")
    first = found(page)
    page.click("#drop-reference")
    page.evaluate("document.getElementById('results').replaceChildren()")
    page.evaluate(send, "drop")
    assert found(page) == first
    assert page.inner_text("#reference-name") == "Picture: given.jpg"


def test_filters_narrow_the_result_and_can_be_cleared(open_page, ask):
    page = open_page()
    search_for(page, "red mug")
    found(page)
    page.click("#filters summary")
    page.check("#categories input[value=hat]")
    page.fill("#numbers fieldset[data-column=price] input >> nth=0", "20")
    page.fill("#numbers fieldset[data-column=price] input >> nth=1", "60")
    page.check("#duplicates")
    playwright().expect(page.locator("#active")).to_have_text("3 active")
    status(page, "9 results")
    asked = {"category": ["hat"], "range": ["price:20:60"], "hide_duplicates": True}
    assert found(page) == expected(ask, q="red mug", **asked)
    assert violations(page) == []
    page.reload()
    assert found(page) == expected(ask, q="red mug", **asked)
    page.click("#filters summary")
    page.fill("#numbers fieldset[data-column=price] input >> nth=1", "20.1")
    page.press("#numbers fieldset[data-column=price] input >> nth=1", "Tab")
    status(page, "No product passes.")
    page.click("#clear")
    status(page, "24 results")


def test_two_models_side_by_side_with_thumbs(open_page, ask, service):
    page = open_page()
    page.click("#filters summary")
    page.check("#compare")
    search_for(page, "blue hat")
    assert found(page, 0) == expected(ask, q="blue hat", model=0)
    assert found(page, 1) == expected(ask, q="blue hat", model=1)
    headings = page.eval_on_selector_all(".column h2", "found => found.map(one => one.textContent)")
    assert headings == ["Model: fold 0", "Model: fold 1"]
    best = found(page, 1)[0]
    page.click(f".column[data-model='1'] .thumb[data-product={best}][data-grade='1']")
    status(page, "Saved.")
    assert (
        page.get_attribute(f".column[data-model='1'] .thumb[data-product={best}][data-grade='1']", "aria-pressed")
        == "true"
    )
    assert service.judgements.of_query("blue hat") == {best: 1}
    assert violations(page) == []
    page.reload()
    page.wait_for_selector(f".thumb[data-product={best}][aria-pressed=true]")
    page.click(f".thumb[data-product={best}][data-grade='1']")
    page.wait_for_selector(f".thumb[data-product={best}][data-grade='1'][aria-pressed=false]")
    assert service.judgements.of_query("blue hat") == {}


def test_a_product_is_searched_in_the_model_that_showed_it(open_page, ask):
    page = open_page()
    page.click("#filters summary")
    page.check("#compare")
    search_for(page, "blue hat")
    found(page, 0)
    chosen = found(page, 1)[3]
    page.click(f".column[data-model='1'] .card[data-id={chosen}] button:has-text('Search like this')")
    status(page, "by product")
    assert found(page, 0) == expected(ask, like=chosen) != found(page, 1) == expected(ask, like=chosen, model=1)
    page.uncheck("#compare")
    page.wait_for_selector(".column[data-model='0']", state="detached")
    assert found(page, 1) == expected(ask, like=chosen, model=1)
    page.reload()
    assert found(page, 1) == expected(ask, like=chosen, model=1)
    page.click(".column[data-model='1'] .card .actions button >> nth=0")
    page.wait_for_selector("dialog .heat canvas")
    with page.expect_request("**/api/explain") as asked:
        page.reload()  # the address has the model, so that Why is of the same
    page.wait_for_selector("dialog .heat canvas")
    assert 'name="model"\r\n\r\n1\r\n' in asked.value.post_data


def test_thumbs_of_an_earlier_query_are_not_put_on_its_results(open_page, ask):
    shown = expected(ask, q="red mug")
    judgement = {"query": "blue mug", "product_id": shown[0], "grade": 1, "model": 0}
    assert ask("POST", "/api/judgements", json=judgement).status_code == 200
    page, held = open_page(), []
    page.route("**/api/judgements?query=blue+mug", lambda route: held.append(route))

    def search_blue_mugs():
        known = len(held)
        search_for(page, "blue mug")
        while len(held) == known:
            page.wait_for_timeout(20)

    search_blue_mugs()
    search_for(page, "red mug")
    assert found(page) == shown
    with page.expect_response("**/api/judgements?query=blue+mug"):
        held[0].continue_()
    search_blue_mugs()
    page.wait_for_selector(f".thumb[data-product={shown[0]}][data-grade='1'][aria-pressed=false]")
    with page.expect_response("**/api/judgements?query=blue+mug"):
        held[1].continue_()
    page.wait_for_selector(f".thumb[data-product={shown[0]}][data-grade='1'][aria-pressed=true]")


def test_judged_queries_show_how_many_of_the_first_are_right(open_page, ask):
    """Two queries: of the first five products one was judged right and one wrong; then two models side by side."""
    for query in ("blue hat striped", "蓝帽"):
        first = expected(ask, q=query, k=5)
        for product, grade in ((first[0], 1), (first[3], 0), ("p35" if "p35" not in first else "p34", 1)):
            judgement = {"query": query, "product_id": product, "grade": grade, "model": 0}
            assert ask("POST", "/api/judgements", json=judgement).status_code == 200
    page = open_page("/?q=red")
    page.wait_for_selector(".card")
    page.click("button.main")  # a search that still runs
    page.click("#judged")
    status(page, "judged queries. Choose a query to search it.")
    row = page.locator(".judged li", has_text="蓝帽")
    playwright().expect(row.locator(".share")).to_have_text("1 of 5")
    tiles = row.locator(".tile").evaluate_all("all => all.map(one => [one.dataset.id, one.className.split(' ')[1]])")
    assert tiles == [[key, {0: "right", 3: "wrong"}.get(place, "unjudged")] for place, key in enumerate(first)]
    judged = [one for one in ask("GET", "/api/judgements/queries").json()["queries"] if 1 in one["grades"].values()]
    counts = [page.locator(f".tile.{grade}").count() for grade in ("right", "wrong", "unjudged")]
    share = round(100 * counts[0] / sum(counts))
    assert page.get_attribute("#results", "aria-busy") is None
    assert len(judged) == page.locator(".judged li").count() and sum(counts) == 5 * len(judged)
    words = f"{share} % of the first 5 are right: {counts[0]} of {sum(counts)}, {counts[2]} not judged"
    playwright().expect(page.locator(".sum")).to_have_text(words)
    assert violations(page) == []
    page.reload()
    status(page, "judged queries. Choose a query to search it.")
    page.click("#filters summary")
    page.check("#compare")
    page.wait_for_selector(".column[data-model='1'] .sum")
    status(page, "judged queries. Choose a query to search it.")
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.click("#clear")  # compares no more
    page.wait_for_selector(".column[data-model='1']", state="detached")
    page.click(".query:has-text('蓝帽')")
    assert found(page) == expected(ask, q="蓝帽")


def test_why_and_details_and_the_next_search(open_page, ask):
    page = open_page("/?q=red+striped+mug")
    first = found(page)[0]
    page.click(".card .actions button >> nth=0")
    page.wait_for_selector("dialog .heat canvas")
    words = page.eval_on_selector_all("dialog .words th", "found => found.map(one => one.textContent)")
    assert words == ["red", "striped", "mug"]
    page.wait_for_selector("dialog .cards .card")
    assert violations(page) == []
    page.wait_for_url(lambda url: f"product={first}" in url)
    ids = page.eval_on_selector_all("dialog .card", "found => found.map(one => one.dataset.id)")
    answer = ask("GET", "/api/product", params={"id": first}).json()
    assert ids == [row["product_id"] for row in answer["neighbours"]]
    page.reload()  # the address opens the same
    page.wait_for_selector("dialog .heat canvas")
    page.wait_for_selector("dialog .cards .card")
    page.click("dialog .card >> nth=0 >> button:has-text('Search like this')")
    status(page, "by product")
    assert found(page) == expected(ask, like=ids[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_a_scroll_to_the_side(scheme, open_page, ask):
    page = open_page("/?q=red+mug", width=360, color_scheme=scheme, has_touch=True)
    assert found(page) == expected(ask, q="red mug")
    page.click("#filters summary")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    small = page.eval_on_selector_all(
        "button:not([hidden])", "all => all.filter(one => one.offsetWidth && one.offsetHeight < 24)"
    )
    assert small == []
    assert violations(page) == []
    page.click(".card .actions button >> nth=0")
    page.wait_for_selector("dialog .heat canvas")
    assert page.evaluate("document.getElementById('product').scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "locale"), [(1160, "zh-CN"), (1160, "en-US"), (360, "zh-CN"), (360, "en-US")])
def test_the_two_thumbs_of_a_product_are_side_by_side(width, locale, open_page):
    page = open_page("/?q=red+mug", width=width, locale=locale)
    found(page)
    rows = page.eval_on_selector_all(
        ".card", "all => all.map(one => [...one.querySelectorAll('.thumb')].map(thumb => thumb.offsetTop))"
    )
    assert len(rows) == 24 and all(len(row) == 2 and row[0] == row[1] for row in rows)


def test_errors_are_words(open_page, browser, tmp_path, address):
    page = open_page()
    page.click("button.main")
    status(page, "Write some words, or add a picture.")
    context = browser.new_context(locale="zh-CN")
    other = context.new_page()  # its console has the refused requests
    other.goto(address)
    other.wait_for_selector("#categories input", state="attached")
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    other.set_input_files("#picture", tmp_path / "no.jpg")
    status(other, "无法读取这个图片文件")
    other.click("#drop-reference")
    other.click("#filters summary")
    other.check("#compare")
    missing = {"error": {"code": "no_product", "message": "no product 'p1' in the index of fold 1"}}
    other.route("**/api/search*model=1*", lambda route: route.fulfill(status=404, json=missing))
    search_for(other, "red")
    assert len(found(other, 0)) == 24
    assert "in the index of fold 1" in other.inner_text(".column[data-model='1']")
    other.route("**/api/search*", lambda route: route.abort())
    other.fill("#q", "red")
    other.click("button.main")
    status(other, "服务器没有响应")
    context.close()
