// Numbers and small parts of the page.
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const count = (value, noun, plural) => `${number(value)} ${value === 1 ? noun : plural || `${noun}s`}`;
const percent = (part, whole) => {
  const share = whole ? (100 * part) / whole : 0;
  return `${share && share < 9.95 ? share.toFixed(1) : share.toFixed(0)}%`;
};
const lastPart = (path) => path.split(/[\\/]/).pop();
const body = (section) => document.querySelector(`#${section} .body`);
const lead = (section, text) => {
  document.querySelector(`#${section} .lead`).textContent = harmless(text);
};

function button(text, className, act) {
  const node = make("button", text, className);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

// Say how many more a button shows.
function moreOf(node, left, step, noun) {
  node.textContent = left > step ? `Show ${number(step)} more of ${count(left, noun)}`
    : `Show ${left === 1 ? "one more" : `the other ${number(left)}`}`;
  node.hidden = !left;
}

// Show the first things of a list, and a button that shows more of them.
function inSteps(place, list, step, build, noun) {
  let shown = 0;
  const more = button("", "more", () => show(2 * step));
  function show(many) {
    more.before(...list.slice(shown, shown + many).map(build));
    shown = Math.min(list.length, shown + many);
    const left = list.length - shown;
    moreOf(more, left, 2 * step, noun);
  }
  place.replaceChildren(more);
  show(step);
}

// A bar as long as its share of the whole; all bars of a list have the same whole.
function bar(part, whole, className) {
  const node = make("i", "", `bar-line ${className || ""}`);
  node.style.setProperty("--part", `${whole ? (100 * part) / whole : 0}%`);
  return node;
}

function emptyNote(section, text) {
  body(section).replaceChildren(make("p", text, "soft"));
}
