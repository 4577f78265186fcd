"""What tests do with the search page in a browser: open it, search, and read what it shows."""

from collections.abc import Iterator
from contextlib import contextmanager

from chromium import playwright, serious_faults


@contextmanager
def opener(browser, address) -> Iterator:
    """Yield a function that opens the page; afterwards no error may be in the console, and no other host was asked.

    Its page is ready unless `is_ready=False`: then requests may be held by `routes`, patterns with their handlers.
    """
    contexts, faults = [], []

    def open_one(path="/", width=1200, locale="en-US", is_ready=True, routes=(), **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda one: None if one.url.startswith((address, "blob:", "data:")) else faults.append(one.url)
        )
        for pattern, handler in routes:
            page.route(pattern, handler)
        page.goto(address + path)
        if is_ready:
            page.wait_for_selector("#categories input", state="attached")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not faults


def found(page, column=0):
    """The ids in a column of results, once they are there."""
    page.wait_for_selector(f".column[data-model='{column}'] .card")
    page.wait_for_selector("#results:not([aria-busy])")
    return page.eval_on_selector_all(
        f".column[data-model='{column}'] .card", "cards => cards.map(one => one.dataset.id)"
    )


def shown_scores(page):
    """The scores on the cards, in their order."""
    texts = page.eval_on_selector_all(".card .score", "all => all.map(one => one.textContent)")
    return [float(text.split()[-1]) for text in texts]


def expected(call, **asked):
    return [row["product_id"] for row in call("GET", "/api/search", params=asked).json()["results"]]


def status(page, words):
    """Wait until the status of the page has these words; no function can be waited for, as the page forbids eval."""
    playwright().expect(page.locator("#status")).to_contain_text(words, timeout=15_000)


def violations(page):
    """What axe-core finds serious once a search that runs has ended: until then results are pale."""
    playwright().expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    return serious_faults(page)


def search_for(page, text):
    page.fill("#q", text)
    page.click("button.main")
