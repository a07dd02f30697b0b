"use strict";
// Text on this page may come from hostile files: set it as textContent, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  if (className) node.className = className;
  return node;
};
const hidden = { columns: new Set(), rows: new Set() };
const memory = `lycoris-ext-votes-${data.id}`;
// If a host serves the page, the host stores the votes; opened from disk, the browser does.
const hosted = data.votes_url && location.pathname.endsWith("/page");
let votes = hosted ? {} : load();
let shown = null; // [row, column] in the viewer
const bare = (r) => (data.bare ? data.cells[r][0] : null); // the picture without adapter

function load() {
  try {
    return JSON.parse(localStorage.getItem(memory)) || {};
  } catch {
    return {}; // this browser has no storage for pages opened from disk
  }
}

function ask(address, options) {
  return fetch(address, options).then((answer) => {
    if (!answer.ok) throw new Error(`the host answered ${answer.status}`);
    return answer.json();
  });
}

function build() {
  at("title").textContent = data.title;
  at("subtitle").textContent = data.subtitle;
  const head = make("tr");
  head.append(make("td"));
  data.columns.forEach((column, c) => {
    const cell = make("th", column.label, data.bare && c === 1 ? "group" : "");
    for (const line of column.notes) cell.append(make("small", line));
    head.append(cell);
  });
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  data.rows.forEach((row, r) => {
    const line = make("tr");
    const label = make("th", row.label);
    label.title = row.prompt;
    line.append(label);
    data.cells[r].forEach((cell, c) => {
      const place = make("td", "", data.bare && c === 1 ? "group" : "");
      place.append(cell ? figure(cell, r, c) : make("div", "not drawn yet", "empty"));
      line.append(place);
    });
    body.append(line);
  });
  at("grid").append(top, body);
  menu("columns", data.columns);
  menu("rows", data.rows);
}

function figure(cell, r, c) {
  const node = make("figure");
  const picture = make("img", "", cell.width < 200 ? "small" : "");
  picture.src = cell.src;
  picture.alt = `${data.rows[r].label}, ${data.columns[c].label}`;
  picture.tabIndex = 0;
  picture.addEventListener("click", () => open(r, c));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter") open(r, c);
  });
  const star = make("button", "\u2605", "vote");
  star.type = "button";
  star.title = "best of its row";
  star.addEventListener("click", () => vote(r, c));
  node.append(picture);
  if (cell.fault) {
    const fault = make("p", cell.fault, "fault");
    fault.title = cell.fault;
    node.append(fault);
  } else {
    node.append(star);
  }
  return node;
}

function menu(kind, entries) {
  entries.forEach((entry, index) => {
    const label = make("label");
    const box = make("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      hidden[kind][box.checked ? "delete" : "add"](index);
      hide();
    });
    label.append(box, make("span", entry.label));
    at(kind).append(label);
  });
}

function hide() {
  for (const [r, line] of [...at("grid").tBodies[0].rows].entries()) {
    line.classList.toggle("hidden", hidden.rows.has(r));
  }
  for (const line of at("grid").rows) {
    [...line.cells].slice(1).forEach((cell, c) => {
      cell.classList.toggle("hidden", hidden.columns.has(c));
    });
  }
}

function vote(r, c) {
  if (data.cells[r][c].fault) return;
  if (votes[r] === c) delete votes[r];
  else votes[r] = c;
  if (hosted) {
    ask(data.votes_url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ grid: data.id, row: r, column: votes[r] ?? -1 }),
    }).catch((error) => {
      at("tally").textContent = `The vote was not stored: ${error.message}`;
    });
  } else {
    try {
      localStorage.setItem(memory, JSON.stringify(votes));
    } catch { /* without storage, votes last until the page is closed */ }
  }
  showVotes();
}

function showVotes() {
  const counts = new Map();
  for (const [r, line] of [...at("grid").tBodies[0].rows].entries()) {
    [...line.cells].slice(1).forEach((cell, c) => {
      const mine = votes[r] === c;
      cell.firstElementChild.classList.toggle("mine", mine);
      cell.querySelector(".vote")?.classList.toggle("mine", mine);
    });
    if (r in votes) {
      const name = data.columns[votes[r]].label;
      counts.set(name, (counts.get(name) || 0) + 1);
    }
  }
  const ranked = [...counts].sort((a, b) => b[1] - a[1]);
  at("tally").textContent = ranked.length
    ? `Best so far: ${ranked.map(([name, n]) => `${name} (${n})`).join(", ")}`
    : "Click a picture to look closely; the star marks the best of its row.";
}

function save() {
  const chosen = Object.entries(votes).map(([r, c]) => data.ballots[r][c]);
  const content = JSON.stringify({ version: 1, votes: chosen }, null, 2) + "\n";
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = data.votes_file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function open(r, c) {
  shown = [r, c];
  const cell = data.cells[r][c];
  at("over").src = cell.src;
  at("over").classList.toggle("small", cell.width < 200);
  const base = bare(r);
  at("under").src = base ? base.src : "";
  at("under").classList.toggle("small", cell.width < 200);
  at("where").textContent = `${data.columns[c].label}, ${data.rows[r].label}`;
  at("text").textContent = (cell.fault ? `${cell.fault}\n\n` : "") + cell.parameters;
  compare(at("compare").checked);
  if (!at("viewer").open) at("viewer").showModal();
}

function flip(down, right) {
  let [r, c] = shown;
  for (let tries = 0; tries < data.rows.length * data.columns.length; tries += 1) {
    r = (r + down + data.rows.length) % data.rows.length;
    c = (c + right + data.columns.length) % data.columns.length;
    if (data.cells[r][c] && !hidden.rows.has(r) && !hidden.columns.has(c)) break;
  }
  if (data.cells[r][c]) open(r, c);
}

function compare(on) {
  at("compare").checked = on;
  at("stage").classList.toggle("compare", on && Boolean(bare(shown[0])));
  at("under").style.clipPath = `inset(0 ${100 - at("split").value}% 0 0)`;
}

function peek(on) {
  const base = bare(shown[0]);
  if (base) at("over").src = on ? base.src : data.cells[shown[0]][shown[1]].src;
}

at("size").addEventListener("input", () => {
  document.documentElement.style.setProperty("--cell", `${at("size").value}px`);
});
at("save").addEventListener("click", save);
at("close").addEventListener("click", () => at("viewer").close());
at("compare").addEventListener("change", () => compare(at("compare").checked));
at("best").addEventListener("click", () => vote(...shown));
at("split").addEventListener("input", () => compare(true));
at("viewer").addEventListener("click", (event) => {
  if (event.target === at("viewer")) at("viewer").close();
});
at("viewer").addEventListener("keydown", (event) => {
  if (event.target === at("split") && event.key.startsWith("Arrow")) return;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (steps[event.key]) flip(...steps[event.key]);
  else if (event.key === "b") compare(!at("compare").checked);
  else if (event.key === "v") vote(...shown);
  else if (event.key === " " && event.target.tagName !== "BUTTON") peek(true);
  else return;
  event.preventDefault();
});
at("viewer").addEventListener("keyup", (event) => {
  if (event.key === " ") peek(false);
});

build();
const widest = Math.max(64, ...data.cells.flat().map((cell) => (cell ? cell.width : 0)));
const room = (innerWidth - 290) / data.columns.length - 10;
at("size").value = Math.max(96, Math.min(widest < 200 ? 192 : widest, room));
at("size").dispatchEvent(new Event("input"));
showVotes();
if (hosted) {
  ask(`${data.votes_url}/${data.id}`).then((kept) => {
    votes = { ...kept, ...votes }; // the user may have voted before the answer came
    showVotes();
  }).catch((error) => {
    at("tally").textContent = `The votes could not be read: ${error.message}`;
  });
}
