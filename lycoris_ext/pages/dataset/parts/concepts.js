// The contact sheet by concept, and which concepts stand together.
// Pictures of a concept, in turn from each of its folders, so that the first ones show them all.
function inTurn(folders) {
  const lists = new Map(folders.map((folder) => [folder, []]));
  data.pictures.forEach((picture, index) => lists.get(picture.folder)?.push(index));
  const found = [];
  const waiting = [...lists.values()];
  for (let step = 0; waiting.some((list) => step < list.length); step += 1) {
    for (const list of waiting) if (step < list.length) found.push(list[step]);
  }
  return found;
}

const foldersWith = (test) => data.folders.map((_, index) => index)
  .filter((index) => test(data.folders[index]));
const isTraining = (folder) => !folder.reg && !folder.held;

function sheets() {
  const list = data.concepts.map((one) => ({
    ...one,
    folders: foldersWith((folder) => isTraining(folder) && folder.concepts.includes(one.name)),
  }));
  const bare = foldersWith((folder) => isTraining(folder) && !folder.concepts.length);
  const amount = (folders) => ({
    pictures: folders.reduce((sum, f) => sum + data.folders[f].pictures, 0),
    samples: folders.reduce((sum, f) => sum + data.folders[f].pictures * data.folders[f].repeats, 0),
  });
  if (bare.length) list.push({ name: list.length ? "no concept" : data.title, domains: [], folders: bare, ...amount(bare) });
  const reg = foldersWith((folder) => folder.reg);
  if (reg.length) list.push({ name: "regularisation", domains: [], folders: reg, ...amount(reg), aside: true });
  const held = foldersWith((folder) => folder.held);
  if (held.length) list.push({ name: "held out for validation", domains: [], folders: held, ...amount(held), aside: true });
  return list;
}

// Domains beside each other in which some concept stands twice: of "characters~fanart" and
// "characters~screenshots" every character may be expected in both, of "cats" and "dogs" none.
function domainsThatShare() {
  const above = (name) => name.slice(0, Math.max(0, name.lastIndexOf("~")));
  const shared = new Set();
  for (const { domains } of data.concepts) {
    const places = domains.map(([name]) => above(name));
    places.filter((place, index) => places.indexOf(place) !== index).forEach((place) => shared.add(place));
  }
  return { has: (name) => name !== "" && shared.has(above(name)) };
}

function sheet(one, domains) {
  const node = make("article", "", one.pictures <= 6 ? "sheet few" : "sheet");
  const line = make("div", "", "title");
  const share = one.aside ? "" : `, ${percent(one.samples, data.whole.samples)} of an epoch`;
  line.append(make("h3", one.name),
    make("span", `${count(one.pictures, "picture")}, ${count(one.samples, "sample")}${share}`, "soft"));
  const named = one.domains.filter(([name]) => name);
  for (const [name, number_] of named.slice(0, 8)) {
    line.append(make("span", `${name.replaceAll("~", " ~ ")}: ${number(number_)}`, "chip"));
  }
  if (named.length > 8) line.append(make("span", `and in ${named.length - 8} more`, "soft"));
  if (one.domains.length === 1 && domains.has(one.domains[0][0])) line.append(make("span", "in one domain only", "chip warn"));
  node.append(line);
  const list = inTurn(one.folders);
  if (list.length) pictures(node, list, { step: 12, className: "small" });
  if (list.length < one.pictures) {
    node.append(make("p", `This page holds ${number(list.length)} of its ${count(one.pictures, "picture")}.`, "soft"));
  }
  return node;
}

function showConcepts() {
  const all = sheets();
  const domains = domainsThatShare();
  const place = body("concepts");
  at("concept").hidden = all.length < 4;
  const show = () => {
    const asked = at("concept").value.trim().toLowerCase();
    const fitting = all.filter((one) => one.name.toLowerCase().includes(asked));
    inSteps(place, fitting, 12, (one) => sheet(one, domains), "concept");
    if (!fitting.length) place.prepend(make("p", "No concept has this in its name.", "soft"));
  };
  at("concept").addEventListener("input", show);
  show();
}

function showTogether() {
  const { names, pairs, all } = data.together;
  if (!pairs.length) {
    at("together").remove();
    return;
  }
  lead("together", "Pictures that show two concepts at once, by the names of their folders. "
    + (all > names.length ? `The ${names.length} that do so most often, of ${number(all)}. ` : "")
    + "On the diagonal: all pictures of a concept.");
  const own = new Map(data.concepts.map((one) => [one.name, one.pictures]));
  const most = Math.max(...pairs.map(([, , number_]) => number_));
  const cells = new Map();
  for (const [a, b, number_] of pairs) {
    cells.set(`${a},${b}`, number_);
    cells.set(`${b},${a}`, number_);
  }
  const table = make("table", "", "matrix");
  const head = make("tr");
  head.append(make("td"));
  names.forEach((name) => {
    const cell = make("th");
    cell.scope = "col";
    cell.append(make("span", name));
    cell.title = harmless(name);
    head.append(cell);
  });
  table.append(head);
  names.forEach((name, r) => {
    const row = make("tr");
    const label = make("th", name);
    label.scope = "row";
    label.title = harmless(name);
    row.append(label);
    names.forEach((other, c) => {
      const cell = make("td");
      const number_ = cells.get(`${r},${c}`);
      if (r === c) cell.append(make("span", number(own.get(name) || 0), "own"));
      else if (number_) {
        const open = button(number(number_), "heat", () => {
          const folders = new Set(foldersWith((f) => isTraining(f) && f.concepts.includes(name) && f.concepts.includes(other)));
          gallery(`${name} + ${other}`, having((picture) => folders.has(picture.folder)), number_);
        });
        open.style.setProperty("--heat", `${15 + 75 * Math.sqrt(number_ / most)}%`);
        open.classList.toggle("strong", number_ / most > 0.25);
        open.title = harmless(`${name} + ${other}`);
        cell.append(open);
      }
      row.append(cell);
    });
    table.append(row);
  });
  body("together").append(table);
}
