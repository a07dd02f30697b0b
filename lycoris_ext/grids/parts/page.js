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
  at("title").textContent = harmless(data.title);
  at("title").title = data.columns.filter((column) => column.vote.adapter)
    .map((column) => harmless(column.label)).join("\n");
  at("subtitle").textContent = harmless(data.subtitle);
  at("subtitle").title = harmless(data.subtitle);
  const head = make("tr");
  head.append(make("td"));
  data.columns.forEach((column, c) => {
    const cell = make("th", "", data.bare && c === 1 ? "group" : "");
    cell.scope = "col";
    cell.title = [column.label, ...column.notes].map(harmless).join("\n");
    cell.append(make("span", column.short, "clamp"));
    for (const line of column.notes) cell.append(make("small", line, "note"));
    head.append(cell);
  });
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  data.rows.forEach((row, r) => {
    const line = make("tr");
    const label = make("th");
    label.scope = "row";
    label.title = harmless(row.vote.prompt);
    label.append(make("span", row.title, "clamp"));
    if (row.differs) label.append(make("small", row.differs));
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
  const picture = make("img");
  picture.loading = "lazy";
  picture.decoding = "async";
  picture.width = cell.width;
  picture.height = cell.height;
  picture.alt = harmless(`${data.rows[r].label}, ${data.columns[c].label}`);
  picture.tabIndex = 0;
  picture.addEventListener("load", () => {
    picture.classList.toggle("small", picture.naturalWidth < 200);
  });
  picture.src = cell.src;
  picture.addEventListener("click", () => open(r, c));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter") open(r, c);
  });
  node.append(picture);
  if (cell.fault) {
    const fault = make("p", cell.fault, "fault clamp");
    fault.title = harmless(cell.fault);
    node.append(fault);
  } else {
    const star = make("button", "\u2605", "vote");
    star.type = "button";
    star.title = "best of its row";
    star.addEventListener("click", () => vote(r, c));
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
  at("tally").textContent = progress() + (ranked.length
    ? `Best so far: ${ranked.map(([name, n]) => `${harmless(name)} (${n})`).join(", ")}`
    : "Click a picture to look closely; the star marks the best of its row.");
}

function progress() {
  if (!data.running) return "";
  const cells = data.cells.flat();
  return `Drawing: ${cells.filter(Boolean).length} of ${cells.length} pictures. `;
}

function save() {
  const chosen = Object.entries(votes)
    .map(([r, c]) => ({ ...data.rows[r].vote, ...data.columns[c].vote }));
  const content = JSON.stringify({ version: data.votes_version, votes: chosen }, null, 2) + "\n";
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = data.votes_file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// While the grid is drawn, its page is written anew after each picture. A page that is opened from
// disk cannot fetch it, so it reloads itself and comes back as it was.
function reload(seconds) {
  setTimeout(() => {
    const busy = at("viewer").open || document.querySelector("details[open], :active");
    if (busy || document.hidden) return reload(1);
    history.replaceState({
      size: at("size").value,
      left: at("scroller").scrollLeft,
      top: at("scroller").scrollTop,
      columns: [...hidden.columns],
      rows: [...hidden.rows],
      written: data.written,
    }, "");
    location.reload();
  }, 1000 * seconds);
}

function restore(kept) {
  for (const kind of ["columns", "rows"]) {
    for (const index of kept[kind]) {
      const box = at(kind).querySelectorAll("input")[index];
      if (box) box.checked = false;
      hidden[kind].add(index);
    }
  }
  hide();
  resize(kept.size);
  at("scroller").scrollTo(kept.left, kept.top);
}

function resize(size) {
  at("size").value = size;
  const style = document.documentElement.style;
  style.setProperty("--cell", `${at("size").value}px`);
  style.setProperty("--lines", Math.max(2, Math.floor((at("size").value - 24) / 22)));
}

function open(r, c) {
  shown = [r, c];
  const cell = data.cells[r][c];
  at("over").src = cell.src;
  const base = bare(r);
  at("under").src = base ? base.src : "";
  at("where").textContent = harmless(`${data.columns[c].label}, ${data.rows[r].label}`);
  at("text").textContent = harmless((cell.fault ? `${cell.fault}\n\n` : "") + cell.parameters);
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

for (const picture of [at("over"), at("under")]) {
  picture.addEventListener("load", () => {
    picture.classList.toggle("small", picture.naturalWidth < 200);
  });
}
at("size").addEventListener("input", () => resize(at("size").value));
at("before").addEventListener("click", () => flip(0, -1));
at("after").addEventListener("click", () => flip(0, 1));
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
  if (event.ctrlKey || event.metaKey || event.altKey) return; // these are the browser's
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (steps[event.key]) flip(...steps[event.key]);
  else if (event.key === "b") compare(!at("compare").checked);
  else if (event.key === "v") vote(...shown);
  else if (event.key === " " && !["BUTTON", "INPUT"].includes(event.target.tagName)) peek(true);
  else return;
  event.preventDefault();
});
at("viewer").addEventListener("keyup", (event) => {
  if (event.key === " ") peek(false);
});

// Make the pictures as large as the window allows, or as they are.
function fit() {
  const widest = Math.max(64, ...data.cells.flat().map((cell) => (cell ? cell.width : 0)));
  const phone = innerWidth <= 700;
  const room = (innerWidth - (phone ? 120 : 250)) / data.columns.length - 8;
  resize(Math.max(phone ? 128 : 96, Math.min(widest < 200 ? 192 : widest, room)));
}

build();
const kept = data.running ? history.state : null;
if (kept && kept.size) {
  restore(kept);
} else {
  fit();
  // A frame in a hidden part of a page has no width yet.
  if (!innerWidth) addEventListener("resize", fit, { once: true });
}
// A large page takes longer to build, and a page that stays the same is looked at less often.
const age = kept && kept.written === data.written ? 2 : 1;
if (data.running) reload(age * (data.rows.length * data.columns.length > 500 ? 10 : 3));
showVotes();
if (hosted) {
  ask(`${data.votes_url}/${data.id}`).then((kept) => {
    votes = { ...kept, ...votes }; // the user may have voted before the answer came
    showVotes();
  }).catch((error) => {
    at("tally").textContent = `The votes could not be read: ${error.message}`;
  });
}
