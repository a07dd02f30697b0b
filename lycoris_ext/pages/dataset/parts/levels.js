// The tree of levels, with the share of an epoch that each branch has, now and after a balance.
function showLevels() {
  const { whole, after } = data;
  if (!data.levels.length) {
    emptyNote("levels", "There is no picture to train on.");
    return;
  }
  const balanced = data.levels.every(({ repeats }) => !repeats || repeats[0] === repeats[1]);
  lead("levels", `An epoch shows ${count(whole.samples, "sample")}. ` + (balanced
    ? "The repeats are as lycoris-ext dataset balance would make them."
    : `"Balanced" is what lycoris-ext dataset balance would make of the repeats, so that all branches `
      + `of a level have equal parts, as far as whole repeats allow: ${count(after, "sample")}.`));
  const parts = data.levels.filter((one) => one.levels.length);
  const most = Math.max(...parts.map((one) => Math.max(one.samples / (whole.samples || 1), one.after / (after || 1))));
  const head = make("div", "", "level head");
  head.append(make("span", "level"), make("span", "share of an epoch"), make("span", "repeats", "repeats"),
    make("span", "pictures", "pictures"));
  const rows = make("div", "", "rows");
  body("levels").append(balanced ? "" : legend(), head, rows);
  inSteps(rows, data.levels, 60, (one) => {
    const row = make("div", "", "level");
    const depth = one.levels.length;
    const name = make("span", depth ? one.levels[depth - 1] : "all", "name");
    row.style.setProperty("--depth", depth);
    if (depth) name.title = harmless(one.levels.join(" ~ "));
    const bars = make("span", "", "bars");
    const both = [[one.samples, whole.samples, "now"], [one.after, after, "balanced"]];
    for (const [samples, all, kind] of balanced ? both.slice(0, 1) : both) {
      const line = make("span", "", "of-bar");
      if (depth) line.append(bar(samples / (all || 1), most, kind));
      line.append(make("small", `${percent(samples, all)} · ${number(samples)}`));
      bars.append(line);
    }
    const repeats = make("span", "", "repeats");
    if (one.repeats) {
      const [now, then] = one.repeats.map((value) => `×${number(value, 2)}`);
      repeats.append(now, now === then ? "" : make("b", ` → ${then}`));
    }
    row.append(name, bars, repeats, make("span", number(one.pictures), "pictures"));
    return row;
  }, "level");
}

function legend() {
  const node = make("p", "", "legend soft");
  for (const [kind, text] of [["now", "now"], ["balanced", "balanced"]]) {
    const item = make("span");
    item.append(make("i", "", `dot ${kind}`), text);
    node.append(item);
  }
  return node;
}
