// What a search starts from beside its words: a picture that is chosen, dropped or pasted, or a product.

import { ask } from "./ask.js";
import { nameOf, photoUrl } from "./results.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);
let preview = null;

export function showReference(picture, like) {
  if (preview) URL.revokeObjectURL(preview);
  preview = picture ? URL.createObjectURL(picture) : null;
  $("reference").hidden = !picture && !like;
  const source = preview ?? (like?.product.photos ? photoUrl(like.product, like.model, 0) : null);
  if (source) $("reference-image").src = source;
  else $("reference-image").removeAttribute("src");
  if (picture) $("reference-name").textContent = t("reference", { name: picture.name || t("pasted") });
  else if (like) $("reference-name").textContent = t("like", { name: nameOf(like.product) });
}

// An address has no more of a product than its id.
export async function nameLike(like) {
  try {
    const asked = new URLSearchParams({ id: like.product.product_id, model: like.model });
    like.product = (await ask(`/api/product?${asked}`)).product;
  } catch { /* the search for the product says what is wrong */ }
}

function imageOf(data) {
  return Array.from(data?.files ?? []).find((file) => file.type.startsWith("image/"));
}

// `take` gets the file of each picture that is given.
export function listenForPictures(take) {
  $("picture").addEventListener("change", () => {
    const [file] = $("picture").files;
    $("picture").value = "";
    if (file) take(file);
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); $("search").classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("search").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("search").classList.remove("over");
    const file = imageOf(event.dataTransfer);
    if (file) take(file);
  });
  document.addEventListener("paste", (event) => {
    const file = imageOf(event.clipboardData);
    if (file) { event.preventDefault(); take(file); }
  });
}
