// The table of tags: search, where, how often, sorted by any column; a tag shows its pictures.
const folderPictures = (folders) => [...folders].reduce((sum, f) => sum + data.folders[f].pictures, 0);

// Number of captions and of samples with a tag in some folders.
function tagIn(tag, folders) {
  const pairs = data.tags[tag].in;
  let captions = 0, samples = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    if (folders.has(pairs[i])) {
      captions += pairs[i + 1];
      samples += pairs[i + 1] * data.folders[pairs[i]].repeats;
    }
  }
  return [captions, samples];
}

const sorting = { by: "pictures", down: true };
const COLUMNS = [
  ["name", "tag", "by its letters"],
  ["pictures", "captions", "number of captions"],
  ["samples", "samples", "captions times repeats"],
  ["share", "rate", "part of the pictures that have it"],
  ["elsewhere", "elsewhere", "part of all other pictures that have it"],
];
let places = []; // what can be chosen to count in: names and folders

function wherePlaces() {
  const training = foldersWith(isTraining);
  places = [{ name: "everywhere", folders: null }];
  const select = at("where");
  const groups = [["concepts", data.concepts.map((one) => ({
    name: one.name,
    folders: new Set(training.filter((f) => data.folders[f].concepts.includes(one.name))),
  }))]];
  const levels = data.levels.filter((one) => one.levels.length);
  groups.push(["folders", levels.map((one) => ({
    name: one.levels.join(" ~ "),
    folders: new Set(training.filter((f) => one.levels.every((level, i) => data.folders[f].levels[i] === level))),
  }))]);
  const option = (one) => {
    const node = make("option", one.name);
    node.value = places.indexOf(one);
    return node;
  };
  select.append(option(places[0]));
  for (const [label, list] of groups) {
    if (!list.length) continue;
    const group = make("optgroup");
    group.label = label;
    places.push(...list);
    group.append(...list.map(option));
    select.append(group);
  }
}

function tagRows() {
  const { folders } = places[at("where").value];
  const inside = folders ? folderPictures(folders) : data.whole.pictures;
  const outside = data.whole.pictures - inside;
  const asked = at("find").value.trim().toLowerCase();
  const often = at("often").value;
  const fits = {
    "": () => true,
    once: (n) => n === 1,
    few: (n) => n >= 2 && n <= 5,
    most: (n) => n >= inside / 2,
  }[often];
  const rows = [];
  data.tags.forEach((tag, index) => {
    if (asked && !tag.name.toLowerCase().includes(asked)) return;
    const [captions, samples] = folders ? tagIn(index, folders) : [tag.pictures, tag.samples];
    if (!captions || !fits(captions)) return;
    rows.push({ index, name: tag.name, pictures: captions, samples, share: captions / inside,
      elsewhere: outside ? (tag.pictures - captions) / outside : 0 });
  });
  const { by, down } = sorting;
  const compare = by === "name" ? (a, b) => b.name.localeCompare(a.name) : (a, b) => a[by] - b[by];
  rows.sort((a, b) => (down ? -compare(a, b) : compare(a, b)) || a.index - b.index);
  return { rows, folders };
}

function showTags() {
  const { rows, folders } = tagRows();
  const table = make("table", "", folders ? "tags" : "tags everywhere");
  const head = make("tr");
  for (const [key, title, hint] of COLUMNS) {
    const cell = make("th", "", key);
    cell.scope = "col";
    const sort = button(title, "sort", () => {
      Object.assign(sorting, { by: key, down: sorting.by === key ? !sorting.down : true });
      showTags();
      document.querySelector(`th.${key} button`).focus();
    });
    sort.title = hint;
    if (sorting.by === key) {
      cell.setAttribute("aria-sort", sorting.down === (key !== "name") ? "descending" : "ascending");
      sort.append(sorting.down === (key !== "name") ? " ↓" : " ↑");
    }
    cell.append(sort);
    head.append(cell);
  }
  const top = make("thead");
  top.append(head);
  const inside = make("tbody");
  table.append(top, inside);
  body("tags").replaceChildren(table);
  const widest = Math.max(...rows.map((row) => row.share));
  const build = (row) => {
    const line = make("tr");
    const name = make("td");
    name.append(button(row.name, "tag", () => showTag(row.index, folders)));
    const share = make("td", "", "share");
    const lines = make("span", "", "of-bar");
    lines.append(bar(row.share, widest, "now"), make("small", percent(row.share, 1)));
    share.append(lines);
    line.append(name, make("td", number(row.pictures)), make("td", number(row.samples, 1), "samples"), share,
      make("td", folders ? percent(row.elsewhere, 1) : "", "elsewhere"));
    return line;
  };
  // The button for more stands below the table.
  const more = button("", "more", () => step(200));
  let shown = 0;
  function step(many) {
    inside.append(...rows.slice(shown, shown + many).map(build));
    shown = Math.min(rows.length, shown + many);
    moreOf(more, rows.length - shown, 200, "tag");
  }
  body("tags").append(more);
  step(30);
  const left = data.all_tags - data.tags.length;
  at("found").textContent = `${count(rows.length, "tag")}${left ? `; ${count(left, "rarer one is", "rarer ones are")} not in this page` : ""}`;
}

function startTags() {
  if (!data.tags.length) {
    document.querySelector("#tags .filters").remove();
    emptyNote("tags", "No caption holds a tag.");
    return;
  }
  wherePlaces();
  at("find").addEventListener("input", showTags);
  for (const name of ["where", "often"]) at(name).addEventListener("change", showTags);
  showTags();
}
