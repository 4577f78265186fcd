// The product's own page in a dialog: photos, neighbours, and why it is in a result.

import { ask, explain } from "./ask.js";
import { card, element, facts, nameOf, photo, photoUrl } from "./results.js";
import { decimal, knows, languageOf, t } from "./words.js";

const dialog = document.getElementById("product");
const body = document.getElementById("product-body");
const title = document.getElementById("product-name");
let current = 0;

export function closeProduct() {
  dialog.close();
}

// `query` is the search whose result the product is in; null for its own page.
export async function openProduct(product, model, query, actions) {
  const own = (current += 1);
  entitle(product);
  const status = element("p", { className: "status", role: "status" }, t(query ? "explaining" : "opening"));
  body.replaceChildren(status);
  if (dialog.open) document.getElementById("close").focus();  // the button that opened this product is gone
  else dialog.showModal();
  dialog.scrollTop = 0;
  const why = element("div", { className: "why" });
  try {
    if (query) {
      const found = await explain(query, product.product_id, model);
      if (own !== current) return;
      why.append(...explanation(found, product, model));
      body.replaceChildren(why, status);
      status.textContent = t("opening");
    }
    const page = await ask(`/api/product?${new URLSearchParams({ id: product.product_id, model })}`);
    if (own !== current) return;
    entitle(page.product);
    body.replaceChildren(why, ...details(page, model, actions));
  } catch (error) {
    if (own !== current) return;
    status.classList.add("error");
    status.textContent = error.message;
    body.replaceChildren(why, status);
  }
}

function entitle(product) {
  title.textContent = nameOf(product);
  title.lang = languageOf(product.text);
}

function details(page, model, actions) {
  const { product } = page;
  const numbers = Array.from({ length: product.photos }, (_, number) => number);
  return [
    element("p", { className: "text full", lang: languageOf(product.text) }, product.text || t("untitled")),
    facts(product),
    element("h3", {}, t("photos")),
    element("div", { className: "photos" }, ...(numbers.length ? numbers.map((one) => photo(product, model, one)) : [photo(product, model)])),
    page.duplicates.length ? element("p", { className: "note" }, t("duplicates_of", { list: page.duplicates.join(", ") })) : null,
    element("h3", {}, t("neighbours")),
    element("ol", { className: "cards small" }, ...page.neighbours.map((one) => card(one, model, { ...actions, why: null, judge: null }))),
  ].filter((node) => node !== null);
}

function explanation(found, product, model) {
  const nodes = [element("h3", {}, t("why_title", { score: decimal(found.score) }))];
  if (found.photo_score !== null || found.text_score !== null) {
    const value = (score) => (score === null ? "–" : decimal(score));
    nodes.push(element("p", { className: "note" }, t("parts", { photo: value(found.photo_score), text: value(found.text_score) })));
  }
  nodes.push(element("h4", {}, t("words")), ...words(found.words));
  nodes.push(element("h4", {}, t("map")));
  if (found.map === null) nodes.push(element("p", { className: "note" }, t("map_none")));
  else {
    const empty = found.map.values.flat().every((value) => value <= 0);
    const key = empty ? "map_empty" : `map_${found.map.kind}`;
    nodes.push(heat(found.map, product, model), element("p", { className: "note" }, knows(key) ? t(key) : found.map.kind));
  }
  return nodes;
}

function words(found) {
  if (!found.length) return [element("p", { className: "note" }, t("words_none"))];
  const largest = Math.max(...found.map((one) => Math.abs(one.change)), 1e-9);
  const rows = found.map((one) => {
    const bar = element("i", { className: one.change < 0 ? "bar-value bad" : "bar-value" });
    bar.style.width = `${(100 * Math.abs(one.change)) / largest}%`;
    const sign = one.change < 0 ? "−" : "+";
    return element(
      "tr", {},
      element("th", { scope: "row", lang: languageOf(one.word) }, one.word),
      element("td", { className: "num" }, `${sign}${decimal(Math.abs(one.change))}`),
      element("td", { className: "wide" }, element("div", { className: "bar-track", "aria-hidden": "true" }, bar)),
    );
  });
  return [element("table", { className: "words" }, element("tbody", {}, ...rows)), element("p", { className: "note" }, t("words_note"))];
}

// The map is drawn over its box of the photo: a photo is cropped to a square before the model reads it.
function heat(map, product, model) {
  const image = element("img", { src: photoUrl(product, model), alt: t("map_of", { name: nameOf(product) }) });
  const canvas = element("canvas", { "aria-hidden": "true", width: map.values[0].length, height: map.values.length });
  const [left, top, width, height] = map.box;
  Object.assign(canvas.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * width}%`, height: `${100 * height}%` });
  const pen = canvas.getContext("2d");
  const largest = Math.max(...map.values.flat(), 1e-9);
  map.values.forEach((row, y) => row.forEach((value, x) => {
    pen.fillStyle = `rgba(255, 196, 0, ${0.75 * (value / largest)})`;
    pen.fillRect(x, y, 1, 1);
  }));
  return element("div", { className: "heat" }, image, canvas);
}
