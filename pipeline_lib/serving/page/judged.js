// The judged queries: the first products that each of them finds now, and how many of those were judged right.

import { ask, search } from "./ask.js";
import { element, fill, nameOf, photo } from "./results.js";
import { languageOf, t, whole } from "./words.js";

export const TOP = 5;
const MARKS = { right: "✓", wrong: "✗", unjudged: "?" };

// `models` have a number and a name. `again` searches a query, `progress` is called after each of them.
export async function showJudged(root, models, again, progress, signal) {
  const judged = (await ask("/api/judgements/queries", { signal })).queries;
  const queries = judged.filter((one) => Object.values(one.grades).includes(1));
  const columns = models.map((model) => newColumn(model, models.length > 1, again));
  fill(root, ...columns.map((one) => one.node));
  for (const [number, { query, grades }] of queries.entries()) {
    await Promise.all(columns.map((one) => one.add(query, grades, signal)));
    progress(number + 1, queries.length);
  }
  return queries.length;
}

function newColumn(model, titled, again) {
  const counts = { right: 0, wrong: 0, unjudged: 0 };
  const sum = element("p", { className: "sum" });
  const list = element("ol", { className: "judged" });
  const heading = titled ? element("h2", {}, t("model", { name: model.name })) : null;
  const node = element("section", { className: "column", "data-model": model.number, "aria-label": model.name }, heading, sum, list);

  async function add(query, grades, signal) {
    const asked = { q: query, like: "", picture: null, filters: [["k", String(TOP)]] };
    let results = [], fault = null;
    try {
      ({ results } = await search(asked, model.number, signal));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      fault = error.message;
    }
    const judged = results.map((result) => ({ result, grade: gradeOf(grades[result.product_id]) }));
    for (const { grade } of judged) counts[grade] += 1;
    const right = judged.filter(({ grade }) => grade === "right").length;
    list.append(element(
      "li", {},
      element("button", { type: "button", className: "query", lang: languageOf(query), onclick: () => again(query) }, query),
      element("span", { className: "share" }, fault ?? t("right_of", { right, count: results.length })),
      element("span", { className: "tiles" }, ...judged.map(({ result, grade }) => tile(result, grade, model.number))),
    ));
    const all = counts.right + counts.wrong + counts.unjudged;
    const values = { share: whole(Math.round((100 * counts.right) / Math.max(1, all))), right: whole(counts.right), all: whole(all), open: whole(counts.unjudged) };
    sum.textContent = t("judged_sum", { ...values, top: TOP });
  }

  return { node, add };
}

function gradeOf(grade) {
  return grade === undefined ? "unjudged" : grade === 1 ? "right" : "wrong";
}

function tile(result, grade, model) {
  const label = `${t(`grade_${grade}`)}: ${nameOf(result)}`;
  return element(
    "span", { className: `tile ${grade}`, title: label, "data-id": result.product_id }, photo(result, model),
    element("b", { "aria-hidden": "true" }, MARKS[grade]), element("span", { className: "hidden" }, t(`grade_${grade}`)),
  );
}
