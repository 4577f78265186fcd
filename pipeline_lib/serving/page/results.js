// Results as cards: photo, score, text, and what can be done with a product.

import { decimal, languageOf, t } from "./words.js";

export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Replaces what `root` shows; the focus stays in it, as a keyboard has no other place to go on from.
export function fill(root, ...nodes) {
  const isInside = root.contains(document.activeElement);
  root.replaceChildren(...nodes);
  if (isInside) root.focus();
}

export function photoUrl(product, model, number = 0) {
  return `/api/photo?${new URLSearchParams({ id: product.product_id, model, number })}`;
}

export function nameOf(product) {
  return product.text || product.product_id;
}

export function photo(product, model, number = 0) {
  if (!product.photos) return element("span", { className: "no-photo" }, t("no_photo"));
  return element("img", {
    src: photoUrl(product, model, number), alt: t("photo_of", { name: nameOf(product) }), loading: "lazy",
  });
}

export function facts(product) {
  const values = Object.entries(product.numbers).map(([name, value]) => `${name} ${value.toLocaleString()}`);
  return element("p", { className: "facts" }, [product.category, ...values].filter(Boolean).join(" · "));
}

// `actions` has open, why and similar (functions of a product), and judge (of a product and a grade) or null.
export function card(result, model, actions) {
  const text = element("p", { className: "text", lang: languageOf(result.text) }, result.text || t("untitled"));
  const name = nameOf(result).slice(0, 80);
  const button = (word, action) => element(
    "button", { type: "button", onclick: () => action(result), "aria-label": `${t(word)} ${name}` }, t(word),
  );
  const width = Math.max(0, Math.min(1, result.score)) * 100;
  const bar = element("i", { className: "bar-value" });
  bar.style.width = `${width}%`;
  return element(
    "li", { className: "card", "data-id": result.product_id },
    element("div", { className: "picture" }, photo(result, model)),
    element("p", { className: "score" }, `${result.rank}. ${t("score", { score: decimal(result.score) })}`),
    element("div", { className: "bar-track", "aria-hidden": "true" }, bar),
    text,
    facts(result),
    element(
      "div", { className: "actions" },
      actions.why ? button("why", actions.why) : null, button("open", actions.open), button("similar", actions.similar),
      actions.judge ? element("span", { className: "thumbs" }, ...thumbs(result, actions, name)) : null,
    ),
  );
}

const THUMB = "M4 11h3v9H4zM9 20v-9l4-8c1.5 0 2.3 1.2 2 2.6L14.3 9H19a2 2 0 0 1 2 2.3l-1.3 7a2 2 0 0 1-2 1.7z";

function thumb(turned) {
  const make = (name, values) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
    return node;
  };
  const icon = make("svg", { viewBox: "0 0 24 24", width: 18, height: 18, "aria-hidden": "true" });
  icon.append(make("path", { d: THUMB, fill: "currentColor", transform: turned ? "rotate(180 12 12)" : "" }));
  return icon;
}

function thumbs(result, actions, name) {
  return [[1, "good"], [0, "bad"]].map(([grade, word]) => element(
    "button",
    {
      type: "button", className: "thumb", "aria-label": `${t(word)}: ${name}`, "aria-pressed": "false", title: t(word),
      "data-grade": grade, "data-product": result.product_id,
      onclick: (event) => actions.judge(result, event.currentTarget.getAttribute("aria-pressed") === "true" ? null : grade),
    },
    thumb(grade === 0),
  ));
}

export function showGrades(root, grades) {
  for (const button of root.querySelectorAll(".thumb")) {
    const grade = grades[button.dataset.product];
    button.setAttribute("aria-pressed", String(grade === Number(button.dataset.grade)));
  }
}

// The column of a model that has no answer, beside one that has.
export function failed(error, model, name) {
  const message = element("p", { className: "empty" }, error.message, error.detail ? element("small", {}, ` ${error.detail}`) : null);
  return element("section", { className: "column", "data-model": model, "aria-label": name }, element("h2", {}, t("model", { name })), message);
}

export function column(answer, model, actions, titled) {
  const list = element("ol", { className: "cards" }, ...answer.results.map((result) => card(result, model, actions)));
  const heading = titled ? element("h2", {}, t("model", { name: answer.model })) : null;
  const empty = answer.results.length ? null : element("p", { className: "empty" }, t("empty"));
  const cut = answer.cut_at === null ? null : element("p", { className: "note cut" }, t("cut", { count: answer.cut_at }));
  return element("section", { className: "column", "data-model": model, "aria-label": answer.model }, heading, cut, empty, list);
}
