// A chart: lines of means, and bands of extremes.
const NS = "http://www.w3.org/2000/svg";
const [WIDE, HIGH, LEFT, BOTTOM, TOP] = [matchMedia("(max-width: 600px)").matches ? 350 : 600, 250, 58, 22, 8];
const draw = (name, values, text) => {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = harmless(text);
  return node;
};
const short = (value) => (value && (Math.abs(value) < 0.01 || Math.abs(value) >= 1e5) ? value.toExponential(2)
  : Number(value.toPrecision(4)).toString());
const dot = (index) => {
  const node = make("i", "", "dot");
  node.style.setProperty("--own", `var(--run${index % 6})`);
  return node;
};

// The range of the lines; a few extremes must not flatten them.
function range(lines) {
  const lows = [], highs = [];
  for (const { points } of lines) for (const [, low, high] of points) { lows.push(low); highs.push(high); }
  lows.sort((a, b) => a - b);
  highs.sort((a, b) => a - b);
  const low = lows[Math.floor(lows.length * 0.01)], high = highs[Math.ceil(highs.length * 0.99) - 1];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function nearest(points, step) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1; else high = middle;
  }
  return points[low];
}

function chart(title, lines) {
  const place = make("div", "", "chart");
  const reading = make("div", "", "reading soft");
  const svg = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": harmless(title) });
  const last = Math.max(1, ...lines.map(({ points }) => points[points.length - 1][0]));
  const [low, high] = range(lines);
  const x = (step) => LEFT + ((WIDE - LEFT - 8) * step) / last;
  const y = (value) => HIGH - BOTTOM - ((HIGH - BOTTOM - TOP) * Math.min(1, Math.max(0, (value - low) / (high - low))));
  for (let part = 0; part <= 4; part += 1) {
    const value = low + ((high - low) * part) / 4;
    svg.append(draw("line", { class: "rule", x1: LEFT, x2: WIDE - 8, y1: y(value), y2: y(value) }),
      draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
    const step = Math.round((last * part) / 4);
    svg.append(draw("text", { x: x(step), y: HIGH - 4, "text-anchor": part === 4 ? "end" : part ? "middle" : "start" },
      step.toLocaleString("en")));
  }
  for (const { index, points, band, dashed } of lines) {
    const pairs = (list) => list.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    if (band) {
      const around = [...points.map((p) => [p[0], p[2]]), ...points.map((p) => [p[0], p[1]]).reverse()];
      svg.append(draw("polygon", { class: "band", points: pairs(around) }));
    } else {
      svg.append(draw("polyline", { class: dashed ? "line dashed" : "line", points: pairs(points.map((p) => [p[0], p[3]])) }));
    }
    svg.lastChild.style.setProperty("--own", `var(--run${index % 6})`);
  }
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: HIGH - BOTTOM, visibility: "hidden" });
  svg.append(cursor);
  const read = (step) => {
    const shown = step === undefined ? last : step;
    reading.replaceChildren(make("span", `step ${shown.toLocaleString("en")}`), ...lines.filter((one) => !one.band).map((line) => {
      const span = make("span");
      span.append(dot(line.index), make("span", `${line.name} ${short(nearest(line.points, shown)[3])}`));
      return span;
    }));
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const along = ((event.clientX - box.left) / box.width) * WIDE;
    const step = Math.round(Math.min(1, Math.max(0, (along - LEFT) / (WIDE - LEFT - 8))) * last);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(step));
    cursor.setAttribute("visibility", "visible");
    read(step);
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); read(); });
  read();
  place.append(make("h2", title), svg, reading);
  return place;
}
