// Sizes, buckets, crops and lengths of captions.
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

// Width and height of pictures as dots, and the buckets that they are trained in as squares.
function scatter() {
  const wide = 560, high = 400, left = 66, low = 36;
  const sides = [...data.sizes, ...data.buckets].flatMap(([w, h]) => [w, h]);
  const from = Math.log2(Math.min(...sides)) - 0.25;
  const to = Math.log2(Math.max(...sides)) + 0.25;
  const x = (side) => left + ((wide - left - 26) * (Math.log2(side) - from)) / (to - from);
  const y = (side) => high - low - ((high - low - 10) * (Math.log2(side) - from)) / (to - from);
  const node = draw("svg", { viewBox: `0 0 ${wide} ${high}`, class: "scatter", role: "img",
    "aria-label": "Widths and heights of the pictures, and the buckets" });
  const ticks = [];
  for (let side = 2 ** Math.ceil(from); Math.log2(side) < to; side *= 2) ticks.push(side);
  if (ticks.length < 3) for (const side of [...ticks]) if (Math.log2(side * 1.5) < to) ticks.push(side * 1.5);
  for (const side of ticks) {
    node.append(draw("line", { x1: left, x2: wide - 26, y1: y(side), y2: y(side), class: "rule" }),
      draw("line", { y1: 10, y2: high - low, x1: x(side), x2: x(side), class: "rule" }),
      draw("text", { x: left - 6, y: y(side) + 4, "text-anchor": "end" }, number(side)),
      draw("text", { x: x(side), y: high - low + 16, "text-anchor": "middle" }, number(side)));
  }
  node.append(draw("text", { x: (wide + left) / 2, y: high - 4, "text-anchor": "middle" }, "width in pixels"),
    draw("text", { x: 12, y: (high - low) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(high - low) / 2})` }, "height"),
    draw("line", { x1: x(2 ** from), y1: y(2 ** from), x2: x(2 ** to), y2: y(2 ** to), class: "diagonal" }));
  for (const [w, h, pictures_] of data.buckets) {
    const mark = draw("rect", { x: x(w) - 5, y: y(h) - 5, width: 10, height: 10, class: "bucket" });
    mark.append(draw("title", {}, `bucket ${w} × ${h}: ${count(pictures_, "picture")}`));
    node.append(mark);
  }
  const most = Math.max(...data.sizes.map(([, , number_]) => number_));
  for (const [w, h, number_] of data.sizes) {
    const dot = draw("circle", { cx: x(w), cy: y(h), r: 3 + 9 * Math.sqrt(number_ / most) * (most > 1), class: "size" });
    dot.append(draw("title", {}, `${w} × ${h}: ${count(number_, "picture")}`));
    dot.addEventListener("click", () => gallery(`${w} × ${h}`, having((p) => p.size && Math.abs(p.size[0] / w - 1) < 0.02 && Math.abs(p.size[1] / h - 1) < 0.02), number_));
    node.append(dot);
  }
  return node;
}

// Rows of a name, a bar and a number, which open what they count.
function barList(title, rows) {
  const node = make("div", "", "bar-list");
  node.append(make("h3", title));
  const most = Math.max(1, ...rows.map((row) => row.value));
  const list = make("div");
  node.append(list);
  inSteps(list, rows, 14, (row) => {
    const line = button("", "bar-row", row.open);
    line.disabled = !row.value;
    line.append(make("span", row.name), bar(row.value, most, row.kind || "now"), make("small", number(row.value)));
    return line;
  }, "row");
  return node;
}

function showSizes() {
  if (!data.sizes.length) {
    emptyNote("sizes", "The header of no picture could be read.");
    return;
  }
  lead("sizes", "Each dot is a size of pictures, each square a bucket that they are scaled and cropped to, both on "
    + "logarithmic axes.");
  const both = make("div", "", "beside");
  const buckets = data.buckets.map(([w, h, number_]) => ({
    name: `${w} × ${h}`,
    value: number_,
    open: () => gallery(`Bucket ${w} × ${h}`, having((p) => p.bucket && p.bucket[0] === w && p.bucket[1] === h), number_),
  })).sort((a, b) => b.value - a.value);
  const lost = data.lost.map(([low, end, number_]) => ({
    name: low ? `${100 * low}% – ${100 * end}%` : `under ${100 * end}%`,
    value: number_,
    kind: low >= 0.2 ? "bad" : "now",
    open: () => gallery(`Crops that cut off ${100 * low}% to ${100 * end}%`,
      having((p) => p.box && p.lost >= low && (p.lost < end || end === 1)), number_,
      { note: (index) => percent(data.pictures[index].lost, 1), cropped: true }),
  }));
  const lists = make("div", "", "lists");
  lists.append(barList("Pictures in each bucket", buckets), barList("Cut off by the crop", lost));
  both.append(scatter(), lists);
  body("sizes").append(both);
  if (data.worst.length) {
    body("sizes").append(make("h3", "Pictures that lose most to their crop"));
    pictures(body("sizes"), data.worst, { step: 12, cropped: true, note: (index) => `${percent(data.pictures[index].lost, 1)} cut off` });
  }
}

function showCaptions() {
  const { step, last, columns, limits, read, longest, captions } = data.tokens;
  if (!columns.length) {
    emptyNote("captions", "The tokens of no caption were counted.");
    return;
  }
  const cut = limits.filter(([, , number_]) => number_)
    .map(([, tokens, number_]) => `${count(number_, "caption is", "captions are")} longer than ${tokens}`);
  const [, first] = limits[0];
  const within = limits.find(([name]) => name === read)?.[1] || first;
  lead("captions", `In tokens of ${count(captions, "caption")}; the longest has ${number(longest)}. The text encoder reads `
    + `${within} with max_token_length = ${read}, and up to ${limits[2][1]} with 225: `
    + `${cut.length ? cut.join(", ") : `no caption is longer than ${first}`}.`);
  const node = make("div", "", "columns");
  const most = Math.max(...columns);
  const shown = Math.max(columns.length, Math.round(first / step) + 1);
  const ends = new Set(limits.map(([, tokens]) => tokens));
  for (let index = 0; index < shown; index += 1) {
    const number_ = columns[index] || 0;
    const low = index * step + 1, end = index === last ? Infinity : (index + 1) * step;
    const name = index === last ? `${low}+` : `${low}–${end}`;
    const inside = (p) => p.written && p.tokens !== null && p.tokens <= end && (p.tokens >= low || !index);
    const column = button("", "column", () => gallery(`Captions of ${name} tokens`, having(inside), number_,
      { note: (i) => count(data.pictures[i].tokens, "token") }));
    column.disabled = !number_;
    column.setAttribute("aria-label", `${name} tokens: ${count(number_, "caption")}`);
    column.style.setProperty("--high", `${(100 * number_) / most}%`);
    if (ends.has(end) && index + 1 < shown) column.dataset.limit = end;
    column.classList.toggle("long", end > within);
    column.append(make("b", number_ ? number(number_) : ""), make("i"), make("span", name));
    node.append(column);
  }
  body("captions").append(node);
}
