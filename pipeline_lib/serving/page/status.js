// The line above the results: what the page does, has found or cannot do.

import { element } from "./results.js";
import { t } from "./words.js";

const line = document.getElementById("status");
let shown = ["opening", {}, null];

export function say(key, values = {}, error = null) {
  shown = [key, values, error];
  line.classList.toggle("error", error !== null);
  line.textContent = error ? error.message : t(key, values);
  if (error?.detail) line.append(element("small", {}, ` ${error.detail}`));
}

// After a change of the language.
export function sayAgain() {
  say(...shown);
}
