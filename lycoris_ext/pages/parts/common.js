"use strict";
// Text on this page may come from hostile files: set it as textContent, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
// Characters that turn the direction of the text around them are shown by their names.
const harmless = (text) => String(text).replace(
  /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
  (letter) => `<U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`,
);
const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text) node.textContent = harmless(text);
  if (className) node.className = className;
  return node;
};

function follow(theme) {
  document.documentElement.dataset.theme = theme;
}

// A host that shows the page in a frame says which theme it has; else the system says it.
const asked = new URLSearchParams(location.search).get("__theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
if (["light", "dark"].includes(asked)) {
  follow(asked);
} else {
  follow(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => follow(dark.matches ? "dark" : "light"));
}

