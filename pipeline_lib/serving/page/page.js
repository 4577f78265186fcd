// The search form: what is asked, its filters, and the columns of results.

import { current, currentSearch, go, goToProduct, leaveProduct } from "./address.js";
import { ask, judge, search } from "./ask.js";
import { buildFilters, clearFilters, filters, numResults, setFilters, settings, showActive } from "./filters.js";
import { showJudged, TOP } from "./judged.js";
import { listenForPictures, nameLike, showReference } from "./reference.js";
import { column, failed, fill, showGrades } from "./results.js";
import { say, sayAgain } from "./status.js";
import { closeProduct, openProduct } from "./why.js";
import { methodName, setLanguage, startLanguage, whole } from "./words.js";

const $ = (id) => document.getElementById(id);
let catalogue = null;
let picture = null;
let like = null;
let last = null;
let isAsked = false;
let isJudgedView = false;
let isStarting = false;
let isLeaving = false;
let running = null;

function setPicture(file) {
  picture = file;
  like = null;
  showReference(picture, like);
}

async function run(isInAddress = false) {
  const query = { q: $("q").value.trim(), like: like?.product.product_id ?? "", model: like?.model ?? 0, picture };
  if (!query.q && !query.like && !picture) {
    say("error_no_query");
    return;
  }
  const isUnanswered = isAsked && $("results").hasAttribute("aria-busy");
  isAsked = true;
  if (!catalogue) return start();
  running?.abort();
  const own = (running = new AbortController());
  isJudgedView = false;
  query.filters = [...filters(), ["k", numResults()]];
  const asked = [["q", query.q], ["like", query.like], ["model", (query.like && query.model) || ""], ...settings()];
  if (!isInAddress) go(asked, picture, isUnanswered);
  const address = currentSearch();
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
    last = { query, models, answers, ms, address };
    show();
    $("results").removeAttribute("aria-busy");
    if (canJudge(query)) await showGradesOf(query, loadGrades(query.q));
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    last = null;
    fill($("results"));
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
  isAsked = false;
  last = null;
  $("results").removeAttribute("aria-busy");
  go([["view", "judged"], ...settings()]);
  const models = askedModels(0).map((number) => ({ number, name: catalogue.models[number].name }));
  const progress = (done, count) => { if (own === running) say("judging", { done: whole(done), count: whole(count) }); };
  try {
    const count = await showJudged($("results"), models, searchText, progress, own.signal);
    if (own === running) say(count ? "judged_done" : "judged_none", { top: TOP, count: whole(count) });
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    fill($("results"));
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
  $("q").focus();
  run();
}

function show() {
  const { query, models, answers, ms } = last;
  const columns = answers.map((answer, number) => {
    const model = models[number], name = catalogue.models[model].name;
    return answer.error ? failed(answer.error, model, name) : column(answer, model, actionsOf(query, model), models.length > 1);
  });
  fill($("results"), ...columns);
  const first = answers.find((answer) => !answer.error);
  const values = { count: whole(first.results.length), searched: whole(first.searched), ms: whole(ms), method: methodName(first.method) };
  say(first.results.length ? "found" : "empty", values);
}

function canJudge(query) {
  return catalogue.can_judge && query.q !== "" && !query.picture && !query.like;
}

function actionsOf(query, model) {
  const view = (product, asked) => {
    goToProduct(product.product_id, model, asked !== null);
    openProduct(product, model, asked, actions);
  };
  const actions = {
    open: (product) => view(product, null),
    why: (product) => view(product, query),
    similar: (product) => {
      closeQuietly();
      picture = null;
      like = { product, model };
      showReference(picture, like);
      $("q").value = "";
      $("drop-reference").focus();
      run();
    },
    judge: canJudge(query) ? (product, grade) => sendGrade(query, product, grade, model) : null,
  };
  return actions;
}

// Another page follows, so the address is not that of the search behind the product.
function closeQuietly() {
  isLeaving = $("product").open;
  closeProduct();
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

// Put what the address asks for into the form, once the filters are there.
function restore() {
  const { asked, picture: held } = current();
  picture = held;
  const id = asked.get("like"), model = modelOf(asked.get("model"));
  if (!id) like = null;
  else if (like?.product.product_id !== id || like.model !== model) {
    like = { product: { product_id: id, text: "", photos: 0 }, model };
    nameLike(like).then(() => showReference(picture, like));
  }
  showReference(picture, like);
  clearFilters();
  setFilters([...asked]);
}

function modelOf(number) {
  return number in catalogue.models ? Number(number) : 0;
}

function restoreWords() {
  $("q").value = current().asked.get("q") ?? "";
}

// Show what the address asks for: a search, the judged queries or none, and perhaps a product over it.
async function follow() {
  const { asked, picture: held } = current();
  restore();
  if (!asked.get("product")) closeQuietly();
  if (asked.get("view") === "judged") await openJudged();
  else if (asked.get("q") || like || held) {
    if (currentSearch() !== last?.address || held !== last.query.picture) await run(true);
  } else showNothing();
  if (String(asked) !== String(current().asked)) return;  // Back was pressed meanwhile
  if (asked.get("product")) showProduct(asked.get("product"), modelOf(asked.get("product_model")), asked.has("why"));
}

function showNothing() {
  running?.abort();
  running = last = null;
  isAsked = isJudgedView = false;
  $("results").removeAttribute("aria-busy");
  fill($("results"));
  say("start");
}

function translate(name) {
  const chosen = catalogue ? filters() : [];
  setLanguage(name);
  $("language").value = document.documentElement.lang;
  if (!catalogue) return;
  buildFilters(catalogue);
  setFilters(chosen);
  showReference(picture, like);
  if (isJudgedView) openJudged();
  if (!last) return sayAgain();
  const pressed = Array.from(document.querySelectorAll('.thumb[aria-pressed="true"]'), (one) => one.dataset);
  show();
  showGrades($("results"), Object.fromEntries(pressed.map((one) => [one.product, Number(one.grade)])));
}

function showProduct(id, model, isWhy) {
  const answer = last?.answers[last.models.indexOf(model)];
  const product = answer?.results?.find((one) => one.product_id === id) ?? { product_id: id, text: "", photos: 1 };
  const query = last?.query ?? { q: "", like: "", model, picture: null, filters: [] };
  openProduct(product, model, isWhy && last ? query : null, actionsOf(query, model));
}

function listen() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!$("q").value.trim() && !like && !picture) $("q").focus();
    run();
  });
  $("drop-reference").addEventListener("click", () => { setPicture(null); $("q").focus(); });
  $("filters").addEventListener("change", (event) => {
    showActive();
    if (isAsked) run();
    else if (isJudgedView && event.target.id === "compare") openJudged();  // the view has no filters
  });
  $("judged").addEventListener("click", openJudged);
  $("clear").addEventListener("click", () => { clearFilters(); if (isAsked) run(); else if (isJudgedView) openJudged(); });
  $("language").addEventListener("change", (event) => translate(event.target.value));
  $("close").addEventListener("click", closeProduct);
  $("product").addEventListener("close", () => {
    if (!isLeaving) leaveProduct();
    isLeaving = false;
  });
  // The link's own jump would add an entry to the history.
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("results").focus(); });
  window.addEventListener("popstate", () => {
    restoreWords();
    if (catalogue) follow();
  });
  listenForPictures((file) => { setPicture(file); run(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !$("product").open) { event.preventDefault(); $("q").focus(); }
  });
}

// What is asked for before the catalogue has come is searched as soon as it has.
async function start() {
  if (isStarting) return;
  isStarting = true;
  say("opening");
  try {
    catalogue = await ask("/api/catalogue");
    translate(document.documentElement.lang);
    showJudgedButton();
    if (isAsked || $("q").value !== (current().asked.get("q") ?? "")) {
      restore();
      say("start");
      if (isAsked) await run();
    } else await follow();
  } catch (error) {
    say("error_other", {}, error);
  } finally {
    isStarting = false;
  }
}

translate(startLanguage());
restoreWords();
listen();
start();
