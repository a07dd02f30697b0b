// The heading, and all sections in their order.
function tile(value, text, section, className) {
  const node = make("a", "", `tile ${className || ""}`);
  node.href = `#${section}`;
  node.append(make("b", value), make("span", text));
  return node;
}

function showHeading() {
  at("title").textContent = harmless(data.title);
  at("about").textContent = harmless(`${data.folder} · ${data.about}`);
  const worse = (severity) => data.findings.filter((one) => one.severity === severity).length;
  const [errors, warnings] = [worse("error"), worse("warning")];
  const cropped = data.lost.filter(([low]) => low >= 0.2).reduce((sum, [, , n]) => sum + n, 0);
  const tiles = [
    tile(number(data.whole.pictures), "pictures", "concepts"),
    tile(number(data.whole.samples), "samples in an epoch", "levels"),
    data.concepts.length && tile(number(data.concepts.length), data.concepts.length === 1 ? "concept" : "concepts", "concepts"),
    data.all_tags && tile(number(data.all_tags), "different tags", "tags"),
    data.regularisation.pictures && tile(number(data.regularisation.pictures), "for regularisation", "concepts"),
    data.held_out.pictures && tile(number(data.held_out.pictures), "held out for validation", "concepts"),
    tile(number(data.uncaptioned), "without a caption", "captions", data.uncaptioned ? "warning" : ""),
    tile(number(cropped), "lose a fifth or more to the crop", "sizes", cropped ? "warning" : ""),
    tile(number(data.findings.length), errors || warnings
      ? `findings: ${[errors && count(errors, "error"), warnings && count(warnings, "warning")].filter(Boolean).join(", ")}`
      : "findings", "findings", errors ? "error" : warnings ? "warning" : ""),
  ];
  at("headline").append(...tiles.filter(Boolean));
  for (const section of document.querySelectorAll("main section")) {
    const link = make("a", section.querySelector("h2").textContent);
    link.href = `#${section.id}`;
    at("sections").append(link);
  }
}

at("theme").addEventListener("click", () => {
  follow(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
showFindings();
showLevels();
showConcepts();
showTogether();
showSizes();
startTags();
showCaptions();
showHeading();
