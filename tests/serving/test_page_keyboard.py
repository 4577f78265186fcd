"""The page by Tab, Space, Enter, arrows and typed words alone: all can be reached, and the focus is always seen."""

import re

import pytest
from chromium import playwright
from search_page import expected, found, status, violations

# What has the focus, and whether that is seen: the ring is around it (or around the label of a field that only has
# one), around nothing else, inside the window, and under nothing.
FOCUS = """() => {
  const one = document.activeElement;
  const ringed = one.id === 'picture' ? document.querySelector('label[for=picture]') : one;
  const hasRing = (node) => { const style = getComputedStyle(node);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && node.offsetWidth > 1; };
  const box = ringed.getBoundingClientRect(), x = box.x + box.width / 2;
  const y = (Math.max(0, box.y) + Math.min(innerHeight, box.bottom)) / 2;
  const top = document.elementFromPoint(x, y);
  const faults = [];
  if (one === document.body) faults.push('lost');
  if (!hasRing(ringed)) faults.push('no ring');
  if ([...document.querySelectorAll('body *')].filter(hasRing).length > 1) faults.push('more than one ring');
  if (box.bottom <= 0 || box.y >= innerHeight || !box.width || !box.height) faults.push('outside the window');
  else if (!top || !(ringed.contains(top) || top.contains(ringed))) faults.push(`under ${top?.outerHTML.slice(0, 80)}`);
  return [one.outerHTML.slice(0, 120), faults];
}"""


class Keyboard:
    """Presses keys, and looks after each whether the focus is seen."""

    def __init__(self, page):
        self.page = page

    def look(self):
        where, faults = self.page.evaluate(FOCUS)
        assert not faults, (where, faults)

    def press(self, key, times=1):
        for _ in range(times):
            self.page.keyboard.press(key)
            self.look()

    def go_to(self, selector, key="Tab", limit=150):
        """Press Tab until what fits the selector has the focus."""
        for _ in range(limit):
            self.press(key)
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached by {limit} x {key}")


@pytest.fixture
def page(open_page):
    opened = open_page()
    opened.wait_for_function("document.activeElement.id == 'q'")  # autofocus comes with the first frame
    return opened


def test_all_that_a_mouse_does_is_done_by_keys(page, ask, service):
    keys = Keyboard(page)
    keys.look()  # the field has the focus
    page.keyboard.type("blue hat")
    keys.press("Enter")
    assert found(page) == expected(ask, q="blue hat")

    keys.go_to("#filters summary")
    keys.press("Enter")
    assert page.evaluate("document.getElementById('filters').open")
    keys.go_to("#categories input[value=hat]")
    keys.press("Space")
    page.wait_for_url(lambda url: "category=hat" in url)
    status(page, "18 results")
    assert found(page) == expected(ask, q="blue hat", category=["hat"])
    keys.look()
    keys.go_to("#k")
    keys.press("ArrowDown", 20)
    status(page, "4 results")
    assert found(page) == expected(ask, q="blue hat", category=["hat"], k=4)
    keys.press("ArrowUp")
    status(page, "5 results")
    keys.go_to("#compare", "Shift+Tab")
    keys.press("Space")
    assert found(page, 1) == expected(ask, q="blue hat", category=["hat"], k=5, model=1)
    assert found(page, 0) == expected(ask, q="blue hat", category=["hat"], k=5)

    best = found(page, 1)[0]
    keys.go_to(f".column[data-model='1'] .thumb[data-product={best}][data-grade='1']")
    keys.press("Space")
    status(page, "Saved.")
    keys.look()
    assert service.judgements.of_query("blue hat") == {best: 1}
    keys.press("Enter")  # withdrawn
    page.wait_for_selector(f".thumb[data-product={best}][data-grade='1'][aria-pressed=false]")
    assert service.judgements.of_query("blue hat") == {}
    assert violations(page) == []


def test_a_product_is_opened_and_left_by_keys(page, ask):
    keys = Keyboard(page)
    page.keyboard.type("red striped mug")
    keys.press("Enter")
    first = found(page)[0]
    for word, inside in (("Why", ".words"), ("Details", ".photos")):
        keys.go_to(f".card[data-id={first}] button[aria-label^={word}]")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"dialog {inside}")
        page.wait_for_selector("dialog .cards .card")
        keys.look()
        assert page.evaluate("document.getElementById('product').contains(document.activeElement)")
        keys.go_to("dialog .card button")
        keys.go_to("#close", "Shift+Tab")
        keys.press("Enter")
        assert page.is_hidden("#product")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(word)
        keys.press("Shift+Tab", 2)
    # A product's page leads to another, and to a search for what is like it; the focus goes along.
    keys.go_to(f".card[data-id={first}] button[aria-label^=Details]")
    page.keyboard.press("Space")
    page.wait_for_selector("dialog .cards .card")
    near = page.get_attribute("dialog .card >> nth=0", "data-id")
    keys.go_to("dialog .card button[aria-label^=Details]")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith(f"product={near}"))
    page.wait_for_selector("dialog .cards .card")
    keys.look()
    nearest = page.get_attribute("dialog .card >> nth=0", "data-id")
    keys.go_to("dialog .card button[aria-label^='Search like this']")
    page.keyboard.press("Enter")
    status(page, "by product")
    assert found(page) == expected(ask, like=nearest)
    keys.look()
    keys.press("Enter")  # removes the product again
    assert page.is_hidden("#reference") and page.evaluate("document.activeElement.id") == "q"


def test_a_picture_is_chosen_by_keys(page, ask, tmp_path):
    path = tmp_path / "own.jpg"
    path.write_bytes(ask("GET", "/api/photo", params={"id": "p8"}).content)
    page.on("filechooser", lambda chooser: None)  # from here on, the library takes the place of the window for files
    keys = Keyboard(page)
    keys.press("Tab")
    assert page.evaluate("document.activeElement.id") == "picture"
    for key in ("Enter", "Space"):
        with page.expect_file_chooser() as chooser:
            page.keyboard.press(key)
        chooser.value.set_files(path)
        status(page, "by picture")
        found(page)
        keys.look()
        keys.go_to("#drop-reference")
        page.keyboard.press("Space")
        assert page.is_hidden("#reference") and page.evaluate("document.activeElement.id") == "q"
        keys.press("Tab")


def test_the_skip_link_the_language_and_the_judged_queries_by_keys(page, ask):
    judged = {"query": "green hat", "product_id": "p3", "grade": 1, "model": 0}
    assert ask("POST", "/api/judgements", json=judged).status_code == 200
    page.reload()
    page.wait_for_selector("#judged:not([hidden])")
    keys = Keyboard(page)
    page.keyboard.type("red mug")
    keys.press("Enter")
    found(page)
    keys.go_to(".skip", "Shift+Tab")
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "results"
    keys.press("Tab")
    assert page.evaluate("document.activeElement.matches('.card button')")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    keys.go_to("#language", "Shift+Tab")
    keys.press("ArrowDown")
    playwright().expect(page.locator("button.main")).to_have_text("搜索")
    keys.press("ArrowUp")
    playwright().expect(page.locator("button.main")).to_have_text("Search")
    keys.go_to("#judged", "Shift+Tab")
    keys.press("Enter")
    status(page, "Choose a query to search it.")
    keys.go_to(".query")
    query = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert found(page) == expected(ask, q=query)
    keys.look()
    assert re.search("[?&]q=", page.url)


def test_the_focus_stays_when_results_are_replaced_under_it(page, ask):
    """Back replaces the results while one of them has the focus."""
    keys = Keyboard(page)
    for text in ("red mug", "blue hat"):
        page.keyboard.press("/")
        page.keyboard.press("Control+a")
        page.keyboard.type(text)
        keys.press("Enter")
        status(page, "24 results")
    keys.go_to(".card button")
    page.go_back()
    playwright().expect(page.locator("#q")).to_have_value("red mug")
    assert found(page) == expected(ask, q="red mug")
    keys.look()
    assert page.evaluate("document.activeElement.id") == "results"
