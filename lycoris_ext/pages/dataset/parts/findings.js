// Findings by severity; each unfolds to its pictures.
function finding(one) {
  const node = make("details", "", `finding ${one.severity}`);
  const line = make("summary");
  line.append(make("span", one.severity, "severity"), make("code", one.code), make("span", one.what, "what"));
  if (one.all) line.append(make("span", count(one.all, "place"), "soft many"));
  node.append(line);
  // The pictures are put in when they are asked for.
  node.addEventListener("toggle", () => {
    if (node.open && node.childElementCount === 1) node.append(unfolded(one));
  });
  return node;
}

function unfolded(one) {
  const inside = make("div", "", "unfolded");
  if (one.fix) inside.append(make("p", `What to do: ${one.fix}.`, "fix"));
  const details = new Map(one.where.filter((each) => "picture" in each)
    .map((each) => [each.picture, each.detail]));
  if (details.size) {
    pictures(inside, [...details.keys()], {
      step: 24,
      note: (index) => details.get(index) || lastPart(data.pictures[index].file),
    });
  }
  const others = one.where.filter((each) => !("picture" in each));
  if (others.length) {
    const list = make("ul", "", "paths");
    inside.append(list);
    inSteps(list, others, 12, (each) => {
      const item = make("li", each.detail ? `${each.path}: ${each.detail}` : each.path);
      if (each.folders) {
        const folders = new Set(each.folders);
        const all = each.folders.reduce((sum, f) => sum + data.folders[f].pictures, 0);
        item.append(" ", button(count(all, "picture"), "chip", () => {
          gallery(each.path, having((picture) => folders.has(picture.folder)), all);
        }));
      }
      return item;
    }, "place");
  }
  if (one.all > one.where.length) {
    inside.append(make("p", `and ${count(one.all - one.where.length, "more place")}`, "soft"));
  }
  return inside;
}

function showFindings() {
  if (!data.findings.length) {
    emptyNote("findings", "Nothing was found that is wrong or notable in folders and captions.");
    return;
  }
  inSteps(body("findings"), data.findings, 12, finding, "finding");
}
