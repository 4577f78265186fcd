// The filters of a search: categories, ranges of numbers, and the options beside them.

import { element } from "./results.js";
import { t, whole } from "./words.js";

const $ = (id) => document.getElementById(id);
const USUAL_K = "24";

export function numResults() {
  return $("k").value || USUAL_K;
}

// What an address has of a search beside what is searched for.
export function settings() {
  const k = numResults();
  return [...filters(), ["k", k === USUAL_K ? "" : k], ["compare", $("compare").checked ? "true" : ""]];
}

export function filters() {
  const pairs = [];
  for (const box of $("categories").querySelectorAll("input:checked")) pairs.push(["category", box.value]);
  for (const set of $("numbers").querySelectorAll("fieldset")) {
    const [low, high] = Array.from(set.querySelectorAll("input"), (input) => input.value);
    if (low || high) pairs.push(["range", `${set.dataset.column}:${low}:${high}`]);
  }
  if ($("duplicates").checked) pairs.push(["hide_duplicates", "true"]);
  if ($("min-score").value) pairs.push(["min_score", $("min-score").value]);
  return pairs;
}

export function showActive() {
  const count = filters().length;
  $("active").hidden = count === 0;
  $("active").textContent = t("active", { count });
}

export function buildFilters(catalogue) {
  const box = (one) => element(
    "label", {}, element("input", { type: "checkbox", value: one.name }),
    ` ${one.name} `, element("small", {}, whole(one.products)),
  );
  $("categories").replaceChildren(...catalogue.categories.map(box));
  $("categories-set").hidden = catalogue.categories.length === 0;
  $("numbers").replaceChildren(...catalogue.numbers.map((span) => {
    const input = (word, value) => {
      const label = t(word, { name: span.column });
      return element("label", {}, `${label} `, element("input", { type: "number", step: "any", placeholder: String(value) }));
    };
    const note = span.missing ? element("p", { className: "note" }, t("missing", { count: whole(span.missing) })) : null;
    return element(
      "fieldset", { "data-column": span.column }, element("legend", {}, span.column), input("low", span.low), input("high", span.high), note,
    );
  }));
  $("duplicates-option").hidden = catalogue.duplicates === 0;
  $("compare-option").hidden = catalogue.models.length < 2;
  $("k").max = catalogue.max_k;
}

export function setFilters(pairs) {
  for (const [name, value] of pairs) {
    if (name === "category") {
      for (const box of $("categories").querySelectorAll("input")) box.checked ||= box.value === value;
    } else if (name === "range") {
      const [high, low, ...column] = value.split(":").reverse();
      const inputs = $("numbers").querySelectorAll(`[data-column="${CSS.escape(column.reverse().join(":"))}"] input`);
      if (inputs.length) [inputs[0].value, inputs[1].value] = [low, high];
    } else if (name === "hide_duplicates") $("duplicates").checked = value === "true";
    else if (name === "min_score") $("min-score").value = value;
    else if (name === "k") $("k").value = value;
    else if (name === "compare") $("compare").checked = value === "true" && !$("compare-option").hidden;
  }
  showActive();
}

export function clearFilters() {
  for (const box of $("filters").querySelectorAll("input[type=checkbox]")) box.checked = false;
  for (const input of $("filters").querySelectorAll("input[type=number]")) input.value = input.id === "k" ? USUAL_K : "";
  showActive();
}
