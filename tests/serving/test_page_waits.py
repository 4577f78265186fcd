"""What the page says in words while it waits for an answer, in both languages, and what impatient people get."""

import time

import pytest
from chromium import playwright, serious_faults
from search_page import expected, found, search_for, status, violations

WORDS = {
    "en-US": {
        "opening": "Loading …",
        "start": "Type what you look for",
        "searching": "Searching …",
        "explaining": "Asking the model …",
        "judging": "Searching 1 of {count} judged queries …",
    },
    "zh-CN": {
        "opening": "正在加载……",
        "start": "请输入要找的商品",
        "searching": "正在搜索……",
        "explaining": "正在询问模型……",
        "judging": "正在搜索已评价的查询：1 / {count}……",
    },
}


class Held:
    """Requests to a pattern that wait until they are let through."""

    def __init__(self, page, pattern):
        self.page, self.routes, self.is_open = page, [], False
        page.route(pattern, self.hold)

    def hold(self, route):
        if self.is_open:
            route.continue_()
        else:
            self.routes.append(route)

    def wait(self, count=1):
        """Wait until so many have been held."""
        end = time.monotonic() + 20
        while len(self.routes) < count:
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)

    def release(self):
        """Let the last through, and hold none that follows; the page has given up those before it."""
        self.is_open = True
        self.routes.pop().continue_()


def says(page, words):
    """The status in the open product."""
    playwright().expect(page.locator("dialog [role=status]")).to_have_text(words)


@pytest.mark.parametrize("locale", WORDS)
def test_each_wait_is_in_words(locale, open_page, ask):
    words, page = WORDS[locale], open_page(locale=locale)
    search = Held(page, "**/api/search*")
    search_for(page, "red striped mug")
    search.wait()
    status(page, words["searching"])
    assert page.get_attribute("#results", "aria-busy") == "true"
    assert page.get_attribute("#status", "role") == "status"
    assert serious_faults(page) == []
    search.release()
    assert found(page) == expected(ask, q="red striped mug")

    explained, product = Held(page, "**/api/explain"), Held(page, "**/api/product*")
    page.click(".card .actions button >> nth=0")
    explained.wait()
    says(page, words["explaining"])
    assert serious_faults(page) == []
    explained.release()
    product.wait()
    page.wait_for_selector("dialog .words")
    says(page, words["opening"])
    product.release()
    page.wait_for_selector("dialog .cards .card")
    assert page.locator("dialog [role=status]").count() == 0
    page.keyboard.press("Escape")

    product = Held(page, "**/api/product*")
    page.click(".card .actions button >> nth=1")
    product.wait()
    says(page, words["opening"])
    product.release()
    page.wait_for_selector("dialog .cards .card")


@pytest.mark.parametrize("locale", WORDS)
def test_judged_queries_are_counted_while_they_are_searched(locale, open_page, ask):
    for query in ("plain red mug", "plain blue hat"):
        judged = {"query": query, "product_id": "p3", "grade": 1, "model": 0}
        assert ask("POST", "/api/judgements", json=judged).status_code == 200
    judged = [one for one in ask("GET", "/api/judgements/queries").json()["queries"] if 1 in one["grades"].values()]
    page, held = open_page(locale=locale), []
    page.route("**/api/search*", lambda route: held.append(route) if held else (held.append(route), route.continue_()))
    page.click("#judged")
    status(page, WORDS[locale]["judging"].format(count=len(judged)))


@pytest.mark.parametrize("locale", WORDS)
def test_the_page_loads_in_words(locale, open_page):
    held = []
    page = open_page(locale=locale, is_ready=False, routes=[("**/api/catalogue", lambda route: held.append(route))])
    status(page, WORDS[locale]["opening"])
    assert violations(page) == []
    held[0].continue_()
    status(page, WORDS[locale]["start"])


def test_what_is_typed_and_asked_before_the_page_has_loaded_is_searched_then(open_page, ask):
    held = []
    routes = [("**/api/catalogue", lambda route: held.append(route))]
    page = open_page("/?category=hat", is_ready=False, routes=routes)
    status(page, "Loading …")
    page.keyboard.type("red mug")
    page.keyboard.press("Enter")
    status(page, "Loading …")
    held[0].continue_()
    assert found(page) == expected(ask, q="red mug", category=["hat"])
    page.wait_for_url(lambda url: "q=red+mug" in url and "category=hat" in url)
    page = open_page(is_ready=False, routes=routes)
    page.keyboard.type("blue")
    held[1].continue_()
    status(page, "Type what you look for")
    assert page.input_value("#q") == "blue"


def test_a_setting_that_changes_during_the_first_search_counts(open_page, ask):
    page = open_page()
    page.click("#filters summary")
    search = Held(page, "**/api/search*")
    search_for(page, "red mug")
    search.wait()
    page.check("#categories input[value=hat]")
    search.wait(2)
    search.release()
    status(page, "18 results")
    assert found(page) == expected(ask, q="red mug", category=["hat"])


def test_a_page_whose_server_did_not_answer_at_first_is_asked_again(browser, address, ask):
    context = browser.new_context()  # its console has the request that failed
    page = context.new_page()
    page.route("**/api/catalogue", lambda route: route.abort())
    page.goto(address)
    status(page, "The server does not answer. Is it running?")
    page.unroute("**/api/catalogue")
    search_for(page, "red mug")
    assert found(page) == expected(ask, q="red mug")
    context.close()
