"""What is asked for is in the page's address: a copied link shows the same, and Back and Forward lead through it."""

import pytest
from chromium import playwright
from search_page import expected, found, search_for, shown_scores, status, violations


def change(page, selector, value):
    """Write into a field of the filters and leave it, as a person does."""
    page.fill(selector, value)
    page.press(selector, "Tab")


def link(page):
    """What a person copies, without the host."""
    return "/?" + page.url.partition("/?")[2]


def settled(page, ask, **asked):
    """Wait until the page shows what the API returns."""
    wanted = expected(ask, **asked)
    playwright().expect(page.locator(".column[data-model='0'] .card")).to_have_count(len(wanted))
    assert found(page) == wanted


def test_the_lowest_score_and_the_number_of_results_narrow_what_is_shown(open_page, ask):
    page = open_page("/?q=red+mug")
    found(page)
    scores = [row["score"] for row in ask("GET", "/api/search", params={"q": "red mug", "k": 36}).json()["results"]]
    page.click("#filters summary")
    change(page, "#k", "7")
    status(page, "7 results of 36 products")
    settled(page, ask, q="red mug", k=7)
    change(page, "#k", "30")
    settled(page, ask, q="red mug", k=30)
    least = round((scores[4] + scores[5]) / 2, 5)  # between two scores that are next to each other
    change(page, "#min-score", str(least))
    status(page, "5 results")
    settled(page, ask, q="red mug", k=30, min_score=least)
    playwright().expect(page.locator("#active")).to_have_text("1 active")
    assert shown_scores(page) == [round(score, 3) for score in scores[:5]]
    change(page, "#min-score", "1")
    status(page, "No product passes.")
    assert violations(page) == []
    page.click("#clear")
    settled(page, ask, q="red mug")
    assert page.input_value("#k") == "24" and page.input_value("#min-score") == ""


def test_a_number_of_results_that_does_not_fit_is_an_error_that_the_next_change_mends(open_page, browser, address, ask):
    context = browser.new_context()  # its console has the refused request
    page = context.new_page()
    page.goto(address + "/?q=red+mug&k=900")
    status(page, "The request does not fit.")
    assert "less than or equal to 200" in page.inner_text("#status small") and page.input_value("#k") == "900"
    page.click("#filters summary")
    change(page, "#k", "5")
    settled(page, ask, q="red mug", k=5)
    context.close()


# Each setting that changes the result: what a person does, and what the API is asked with then.
SETTINGS = {
    "k": (lambda page: change(page, "#k", "9"), {"k": 9}),
    "min_score": (lambda page: change(page, "#min-score", "0.6"), {"min_score": 0.6}),
    "category": (lambda page: page.check("#categories input[value=hat]"), {"category": ["hat"]}),
    "range": (lambda page: change(page, "#numbers input >> nth=0", "20"), {"range": ["price:20:"]}),
    "hide_duplicates": (lambda page: page.check("#duplicates"), {"hide_duplicates": True}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_copied_link_has_each_setting(name, open_page, ask):
    do, asked = SETTINGS[name]
    page = open_page("/?q=red+mug")
    before = found(page)
    page.click("#filters summary")
    do(page)
    page.wait_for_url(lambda url: f"{name}=" in url)
    settled(page, ask, q="red mug", **asked)
    shown = found(page)
    assert shown != before
    other = open_page(link(page))
    settled(other, ask, q="red mug", **asked)
    assert found(other) == shown
    page.go_back()
    settled(page, ask, q="red mug")
    assert found(page) == before and page.url.endswith("/?q=red+mug")


def test_a_copied_link_has_both_models_and_the_product_that_was_opened_in_the_second(open_page, ask):
    page = open_page("/?q=blue+hat&k=6")
    found(page)
    page.click("#filters summary")
    page.check("#compare")
    chosen = found(page, 1)[2]
    page.click(f".column[data-model='1'] .card[data-id={chosen}] button:has-text('Details')")
    page.wait_for_selector("dialog .cards .card")
    other = open_page(link(page))
    other.wait_for_selector("dialog .cards .card")
    assert other.locator("dialog .heat, dialog .words").count() == 0  # Details, not Why
    assert found(other, 0) + found(other, 1) == found(page, 0) + found(page, 1)
    assert len(found(other, 1)) == 6 and found(other, 1) == expected(ask, q="blue hat", k=6, model=1)
    near = ask("GET", "/api/product", params={"id": chosen, "model": 1}).json()["neighbours"]
    assert near != ask("GET", "/api/product", params={"id": chosen}).json()["neighbours"]
    for one in (page, other):
        cards = one.eval_on_selector_all("dialog .card", "all => all.map(one => one.dataset.id)")
        assert cards == [row["product_id"] for row in near]
    assert other.inner_text("#product-name") == page.inner_text("#product-name") != chosen
    other.keyboard.press("Escape")
    other.wait_for_url(lambda url: "product" not in url)
    assert "compare=true" in other.url and "k=6" in other.url


def test_back_and_forward_lead_through_searches_and_products(open_page, ask):
    page = open_page()
    search_for(page, "red mug")
    mugs = found(page)
    search_for(page, "blue hat")
    status(page, "24 results")
    hats = found(page)
    page.click(".card >> nth=1 >> button:has-text('Details')")
    page.wait_for_selector("dialog .cards .card")
    page.click("dialog .card >> nth=0 >> button:has-text('Details')")
    page.wait_for_url(lambda url: not url.endswith(f"product={hats[1]}"))
    assert page.evaluate("document.activeElement.id") == "close"
    page.go_back()
    page.wait_for_url(lambda url: url.endswith(f"product={hats[1]}"))
    assert page.inner_text("#product-name") == page.inner_text(f"#results [data-id={hats[1]}] .text")
    page.go_back()
    page.wait_for_selector("dialog", state="hidden")
    assert found(page) == hats and page.input_value("#q") == "blue hat" and page.url.endswith("q=blue+hat")
    page.go_back()
    playwright().expect(page.locator("#q")).to_have_value("red mug")
    settled(page, ask, q="red mug")
    assert found(page) == mugs
    page.go_back()
    status(page, "Type what you look for, or add a picture.")
    assert page.locator("#results .card").count() == 0 and page.input_value("#q") == ""
    page.go_forward()
    settled(page, ask, q="red mug")
    page.go_forward()
    settled(page, ask, q="blue hat")
    page.go_forward()
    page.wait_for_selector("dialog[open] .cards .card")


def test_back_leads_to_a_search_by_picture_and_to_one_by_product(open_page, ask, tmp_path):
    path = tmp_path / "own.jpg"
    path.write_bytes(ask("GET", "/api/photo", params={"id": "p8"}).content)
    page = open_page()
    page.set_input_files("#picture", path)
    by_picture = found(page)
    search_for(page, "hat")
    status(page, "sum of picture and text")
    both = found(page)
    page.click(".card >> nth=3 >> button:has-text('Search like this')")
    status(page, "by product")
    assert found(page) == expected(ask, like=both[3])
    assert page.evaluate("document.activeElement.id") == "drop-reference"
    name = page.inner_text("#reference-name")
    search_for(page, "mug")
    status(page, "sum of picture and text")
    page.go_back()
    status(page, "by product")
    assert page.inner_text("#reference-name") == name and page.input_value("#q") == ""
    page.go_back()
    status(page, "sum of picture and text")
    assert found(page) == both and page.inner_text("#reference-name") == "Picture: own.jpg"
    page.go_back()
    status(page, "by picture")
    assert found(page) == by_picture and page.input_value("#q") == ""
    page.reload()  # the picture is not in the address
    status(page, "Type what you look for, or add a picture.")
    assert page.is_hidden("#reference")


def test_back_leads_from_the_judged_queries_to_the_search_and_again_to_them(open_page, ask):
    judged = {"query": "striped blue hat", "product_id": "p3", "grade": 1, "model": 0}
    assert ask("POST", "/api/judgements", json=judged).status_code == 200
    page = open_page("/?q=red+mug")
    before = found(page)
    page.click("#judged")
    status(page, "judged queries. Choose")
    page.click("#filters summary")
    page.check("#compare")
    page.wait_for_selector(".column[data-model='1'] .sum")
    assert page.url.endswith("/?view=judged&compare=true")
    page.click(".column[data-model='0'] .query:has-text('striped blue hat')")
    assert found(page, 1) == expected(ask, q="striped blue hat", model=1)
    page.go_back()
    page.wait_for_selector(".column[data-model='1'] .sum")
    page.go_back()
    page.wait_for_selector(".column[data-model='1']", state="detached")
    page.go_back()
    settled(page, ask, q="red mug")
    assert found(page) == before


def test_searches_that_were_not_waited_for_are_no_steps_back(open_page, ask):
    held = []
    page = open_page("/?q=red+mug")
    found(page)
    page.click("#filters summary")
    page.route("**/api/search*k=3*", lambda route: held.append(route))
    for number in ("33", "32", "31"):
        change(page, "#k", number)
    change(page, "#k", "20")
    settled(page, ask, q="red mug", k=20)
    page.go_back()
    settled(page, ask, q="red mug")


def test_a_product_of_a_link_has_its_name(open_page, ask):
    text = ask("GET", "/api/product", params={"id": "p6"}).json()["product"]["text"]
    page = open_page("/?product=p6")
    playwright().expect(page.locator("#product-name")).to_have_text(text)
    page.click("#close")
    page.wait_for_url(lambda url: url.endswith("/"))
    page = open_page("/?like=p6")
    playwright().expect(page.locator("#reference-name")).to_have_text(f"Like: {text}")
