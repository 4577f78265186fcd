// The search form: what is asked, its filters, and the columns of results.

import { ask, judge, search } from "./ask.js";
import { buildFilters, clearFilters, filters, setFilters, showActive } from "./filters.js";
import { showJudged, TOP } from "./judged.js";
import { column, element, failed, nameOf, photoUrl, showGrades } from "./results.js";
import { closeProduct, openProduct } from "./why.js";
import { setLanguage, startLanguage, t, whole } from "./words.js";

const $ = (id) => document.getElementById(id);
let catalogue = null;
let picture = null;
let like = null;
let last = null;
let isJudgedView = false;
let running = null;
let status = ["start", {}];
let preview = null;

function say(key, values = {}, error = null) {
  status = [key, values, error];
  $("status").classList.toggle("error", error !== null);
  $("status").textContent = error ? error.message : t(key, values);
  if (error?.detail) $("status").append(element("small", {}, ` ${error.detail}`));
}

function reference() {
  if (preview) URL.revokeObjectURL(preview);
  preview = picture ? URL.createObjectURL(picture) : null;
  $("reference").hidden = !picture && !like;
  if (picture) {
    $("reference-image").src = preview;
    $("reference-name").textContent = t("reference", { name: picture.name || t("pasted") });
  } else if (like) {
    $("reference-image").src = photoUrl(like.product, like.model, 0);
    $("reference-name").textContent = t("like", { name: nameOf(like.product) });
  } else $("reference-image").removeAttribute("src");
}

function setPicture(file) {
  picture = file;
  like = null;
  reference();
}

async function run() {
  const query = { q: $("q").value.trim(), like: like?.product.product_id ?? "", model: like?.model ?? 0, picture };
  if (!query.q && !query.like && !picture) {
    say("error_no_query");
    $("q").focus();
    return;
  }
  running?.abort();
  const own = (running = new AbortController());
  isJudgedView = false;
  query.filters = [...filters(), ["k", $("k").value || "24"]];
  // A product that is searched by is of one model: another project may not have it.
  const models = askedModels(query.model);
  say("searching");
  $("results").setAttribute("aria-busy", "true");
  try {
    const start = performance.now();
    const settled = await Promise.allSettled(models.map((model) => search(query, model, own.signal)));
    if (settled.every((one) => one.status === "rejected")) throw settled[0].reason;
    const answers = settled.map((one) => one.value ?? { error: one.reason });
    const ms = Math.round(performance.now() - start);
    if (own !== running) return;
    last = { query, models, answers, ms };
    remember(query);
    show();
    if (canJudge(query)) await showGradesOf(query, loadGrades(query.q));
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    last = null;
    $("results").replaceChildren();
    say("error_other", {}, error);
  } finally {
    if (own === running) $("results").removeAttribute("aria-busy");
  }
}

function askedModels(one) {
  return $("compare").checked ? catalogue.models.map((_, number) => number) : [one];
}

async function openJudged() {
  running?.abort();
  const own = (running = new AbortController());
  isJudgedView = true;
  last = null;
  $("results").removeAttribute("aria-busy");
  history.replaceState(null, "", "/?view=judged");
  const models = askedModels(0).map((number) => ({ number, name: catalogue.models[number].name }));
  const progress = (done, count) => { if (own === running) say("judging", { done: whole(done), count: whole(count) }); };
  try {
    const count = await showJudged($("results"), models, searchText, progress, own.signal);
    if (own === running) say(count ? "judged_done" : "judged_none", { top: TOP, count: whole(count) });
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    $("results").replaceChildren();
    say("error_other", {}, error);
  }
}

async function showJudgedButton() {
  try {
    $("judged").hidden = !(await ask("/api/judgements/queries")).queries.length;
  } catch { /* the search works without it */ }
}

function searchText(text) {
  setPicture(null);
  $("q").value = text;
  run();
}

function methodName(name) {
  return ["text", "picture", "product", "sum"].includes(name) ? t(`method_${name}`) : t("method_composed", { name: name.replace("composed ", "") });
}

function show() {
  const { query, models, answers, ms } = last;
  const columns = answers.map((answer, number) => {
    const model = models[number], name = catalogue.models[model].name;
    return answer.error ? failed(answer.error, model, name) : column(answer, model, actionsOf(query, model), models.length > 1);
  });
  $("results").replaceChildren(...columns);
  const first = answers.find((answer) => !answer.error);
  const values = { count: whole(first.results.length), searched: whole(first.searched), ms: whole(ms), method: methodName(first.method) };
  say(first.results.length ? "found" : "empty", values);
}

function canJudge(query) {
  return catalogue.can_judge && query.q !== "" && !query.picture && !query.like;
}

function actionsOf(query, model) {
  const actions = {
    open: (product) => { remember(query, product.product_id); openProduct(product, model, null, actions); },
    why: (product) => { remember(query, product.product_id); openProduct(product, model, query, actions); },
    similar: (product) => {
      closeProduct();
      picture = null;
      like = { product, model };
      reference();
      $("q").value = "";
      run();
    },
    judge: canJudge(query) ? (product, grade) => sendGrade(query, product, grade, model) : null,
  };
  return actions;
}

async function sendGrade(query, product, grade, model) {
  try {
    await showGradesOf(query, judge(query.q, product.product_id, grade, model));
    $("judged").hidden = false;
    say("judged");
  } catch (error) {
    say("error_other", {}, error);
  }
}

function loadGrades(text) {
  return ask(`/api/judgements?${new URLSearchParams({ query: text })}`);
}

// An answer may come when the results are already those of another query.
async function showGradesOf(query, answer) {
  const { grades } = await answer;
  if (query === last?.query) showGrades($("results"), grades);
}

// A search by words can be shared by its address.
function remember(query, product = "") {
  const asked = [["q", query.q], ["like", query.like], ["model", (query.like && query.model) || ""], ...filters(), ["product", product]];
  const pairs = query.picture ? [] : asked.filter(([, value]) => value);
  history.replaceState(null, "", pairs.length ? `/?${new URLSearchParams(pairs)}` : "/");
}

function restore() {
  const asked = new URLSearchParams(location.search);
  $("q").value = asked.get("q") ?? "";
  const id = asked.get("like");
  const model = Number(asked.get("model"));
  if (id) like = { product: { product_id: id, text: "", photos: 1 }, model: model in catalogue.models ? model : 0 };
  setFilters([...asked]);
  reference();
}

function translate(name) {
  const chosen = catalogue ? filters() : [];
  setLanguage(name);
  $("language").value = document.documentElement.lang;
  if (!catalogue) return;
  buildFilters(catalogue);
  setFilters(chosen);
  reference();
  if (isJudgedView) openJudged();
  if (!last) {
    say(...status);
    return;
  }
  const pressed = Array.from(document.querySelectorAll('.thumb[aria-pressed="true"]'), (one) => one.dataset);
  show();
  showGrades($("results"), Object.fromEntries(pressed.map((one) => [one.product, Number(one.grade)])));
}

// The address of a product: with a search, why it is in the result.
function showProduct(id) {
  const found = (last?.answers ?? []).map((answer) => answer.results?.find((one) => one.product_id === id));
  const place = found.findIndex((one) => one !== undefined);
  if (place >= 0) actionsOf(last.query, last.models[place]).why(found[place]);
  else {
    const model = last?.models[0] ?? 0;
    openProduct({ product_id: id, text: "", photos: 1 }, model, null, actionsOf({ q: "", like: "", model, picture: null, filters: [] }, model));
  }
}

function droppedImage(data) {
  return Array.from(data?.files ?? []).find((file) => file.type.startsWith("image/"));
}

function listen() {
  $("search").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  $("picture").addEventListener("change", () => {
    if ($("picture").files[0]) setPicture($("picture").files[0]);
    $("picture").value = "";
    if (picture) run();
  });
  $("drop-reference").addEventListener("click", () => { setPicture(null); $("q").focus(); });
  $("filters").addEventListener("change", (event) => {
    showActive();
    if (last) run();
    else if (isJudgedView && event.target.id === "compare") openJudged();  // the view has no filters
  });
  $("judged").addEventListener("click", openJudged);
  $("clear").addEventListener("click", () => { clearFilters(); if (last) run(); else if (isJudgedView) openJudged(); });
  $("language").addEventListener("change", (event) => translate(event.target.value));
  $("close").addEventListener("click", closeProduct);
  $("product").addEventListener("close", () => { if (last) remember(last.query); });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); $("search").classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("search").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("search").classList.remove("over");
    const file = droppedImage(event.dataTransfer);
    if (file) { setPicture(file); run(); }
  });
  document.addEventListener("paste", (event) => {
    const file = droppedImage(event.clipboardData);
    if (file) { event.preventDefault(); setPicture(file); run(); }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !$("product").open) { event.preventDefault(); $("q").focus(); }
  });
}

translate(startLanguage());
listen();
try {
  catalogue = await ask("/api/catalogue");
  translate(document.documentElement.lang);
  restore();
  const product = new URLSearchParams(location.search).get("product");
  showJudgedButton();
  if ($("q").value || like) await run();
  else if (new URLSearchParams(location.search).get("view") === "judged") await openJudged();
  else say("start");
  if (product) showProduct(product);
} catch (error) {
  say("error_other", {}, error);
}
