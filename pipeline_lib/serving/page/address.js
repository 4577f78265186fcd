// The address of the page: the search, its settings and the open product, so that a link shows the same page.

// An address cannot hold a picture: its entry in the history has the picture's number, for as long as the page is open.
const pictures = [];
const visit = Math.random();
const PRODUCT = ["product", "product_model", "why"];

// What is asked for now, and the picture that it starts from, or null.
export function current() {
  const entry = history.state?.visit === visit ? history.state : null;
  return { asked: new URLSearchParams(entry?.asked ?? location.search), picture: entry ? pictures[entry.picture] : null };
}

// The address without its product: two that are equal are one search.
export function currentSearch() {
  const { asked } = current();
  for (const name of PRODUCT) asked.delete(name);
  return String(asked);
}

// Go to the address of `pairs`; in place of the entry that is shown if `isReplaced`.
export function go(pairs, picture = null, isReplaced = false) {
  const asked = String(new URLSearchParams(pairs.filter(([, value]) => value !== "")));
  const before = current();
  if (asked === String(before.asked) && picture === before.picture) return;
  if (picture && !pictures.includes(picture)) pictures.push(picture);
  const state = picture ? { visit, asked, picture: pictures.indexOf(picture) } : null;
  const address = asked && !picture ? `/?${asked}` : "/";
  if (isReplaced) history.replaceState(state, "", address);
  else history.pushState(state, "", address);
}

export function goToProduct(id, model, isWhy) {
  const opened = [["product", id], ["product_model", model || ""], ["why", isWhy ? "1" : ""]];
  go([...new URLSearchParams(currentSearch()), ...opened], current().picture);
}

export function leaveProduct() {
  go([...new URLSearchParams(currentSearch())], current().picture);
}
