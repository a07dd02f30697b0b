// The runs, their charts and options; asked anew every few seconds while the server is there.
let now = data;
const EVERY = 3000;

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function tile(run, index) {
  const node = make("div", "", "tile"), title = make("h2");
  node.style.setProperty("--own", `var(--run${index % 6})`);
  title.append(dot(index), make("span", run.name));
  node.append(title, make("p", run.folder, "soft"));
  if (run.total) {
    const bar = make("progress");
    bar.max = run.total;
    bar.value = run.step;
    bar.setAttribute("aria-label", harmless(run.name));
    node.append(bar);
  }
  const parts = [`step ${run.step.toLocaleString("en")}${run.total ? ` of ${run.total.toLocaleString("en")}` : ""}`];
  if (run.ended) parts.push(run.ended);
  if (run.seconds_a_step !== null) parts.push(`${short(run.seconds_a_step)} s a step`);
  if (run.seconds_left !== null) parts.push(`${duration(run.seconds_left)} left`);
  node.append(make("p", parts.join(" · ")), make("p", run.data, "soft"));
  return node;
}

// Curves whose names begin alike share a chart for all runs.
function group(name) {
  if (name === "loss" || name === "loss, smoothed") return "Loss";
  if (name.startsWith("rate of ")) return "Learning rates";
  if (name.startsWith("true rate of ")) return "True learning rates";
  if (name.startsWith("loss/validation")) return "Loss on held-out pictures";
  return name[0].toUpperCase() + name.slice(1);
}

function showCharts() {
  const charts = new Map();
  now.runs.forEach((run, index) => {
    for (const [name, points] of Object.entries(run.curves)) {
      const title = group(name);
      if (!charts.has(title)) charts.set(title, []);
      // The loss is a band, its running average the line in it; a second line of a run is dashed.
      const dashed = charts.get(title).some((line) => line.index === index && !line.band);
      charts.get(title).push({ index, name: `${run.name}: ${name}`, points, band: name === "loss", dashed });
    }
  });
  const order = ["Loss", "Loss on held-out pictures", "Learning rates", "True learning rates"];
  const rank = (title) => (order.includes(title) ? order.indexOf(title) : order.length);
  const titles = [...charts.keys()].sort((a, b) => rank(a) - rank(b));
  at("charts").replaceChildren(...titles.map((title) => chart(title, charts.get(title))));
}

function showOptions() {
  const names = [...new Set(now.runs.flatMap((run) => Object.keys(run.options)))];
  const table = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
  head.append(make("th", "option"), ...now.runs.map((run) => make("th", run.name)));
  top.append(head);
  for (const name of names) {
    const values = now.runs.map((run) => run.options[name] ?? "–");
    const differs = new Set(values).size > 1;
    if (at("differing").checked && !differs) continue;
    const row = make("tr", "", differs ? "differs" : "");
    row.append(make("th", name), ...values.map((value) => make("td", value)));
    body.append(row);
  }
  table.append(top, body);
  at("options").replaceChildren(table);
}

function show() {
  at("runs").replaceChildren(...now.runs.map(tile));
  showCharts();
  showPictures();
  showOptions();
}

async function ask() {
  try {
    const answer = await fetch(data.live);
    if (!answer.ok) throw new Error(await answer.text());
    const next = await answer.json();
    const changed = JSON.stringify(next.runs) !== JSON.stringify(now.runs);
    now = next;
    if (changed) show();
    at("state").textContent = "live";
  } catch (error) {
    at("state").textContent = "the command has ended, or a log cannot be read";
  }
  setTimeout(ask, EVERY);
}

at("theme").addEventListener("click", () => {
  follow(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
at("differing").addEventListener("change", showOptions);
at("differing").checked = data.runs.length > 1;
show();
if (data.live) setTimeout(ask, EVERY);
