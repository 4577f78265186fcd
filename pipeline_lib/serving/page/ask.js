// Requests to the server, and their errors in words.

import { knows, t } from "./words.js";

export async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("error_offline"));
  }
  if (response.ok) return response.json();
  let detail = null;
  try { detail = (await response.json()).error; } catch { /* a proxy may answer with a page */ }
  const key = `error_${detail?.code}`;
  const error = new Error(knows(key) ? t(key) : t("error_other"));
  error.detail = detail?.message ?? `${response.status}`;
  throw error;
}

// `query` has q, like, picture (a file or null) and the filters as pairs.
export function search(query, model, signal) {
  const pairs = [["q", query.q], ["like", query.like], ["model", model], ...query.filters].filter(([, value]) => value !== "");
  if (!query.picture) return ask(`/api/search?${new URLSearchParams(pairs)}`, { signal });
  return ask("/api/search", { method: "POST", body: form(pairs, query.picture), signal });
}

export function explain(query, product, model) {
  const pairs = [["product", product], ["q", query.q], ["like", query.like], ["model", model]];
  return ask("/api/explain", { method: "POST", body: form(pairs.filter(([, value]) => value !== ""), query.picture) });
}

export function judge(query, product, grade, model) {
  const body = JSON.stringify({ query, product_id: product, grade, model });
  return ask("/api/judgements", { method: "POST", headers: { "content-type": "application/json" }, body });
}

function form(pairs, picture) {
  const data = new FormData();
  for (const [name, value] of pairs) data.append(name, value);
  if (picture) data.append("picture", picture, picture.name || "picture");
  return data;
}
