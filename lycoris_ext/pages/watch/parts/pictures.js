// Pictures of all runs at the step that the slider is at.
let picturesKnown = "";
const pictureSteps = () => [...new Set(now.runs.flatMap((run) => run.pictures.map((p) => p.step)))]
  .sort((a, b) => a - b);

function showPictures() {
  const steps = pictureSteps();
  at("pictures").hidden = !steps.length;
  if (!steps.length) return;
  const slider = at("at_step");
  const wasLast = slider.value === slider.max;
  slider.max = steps.length - 1;
  if (wasLast || !picturesKnown) slider.value = slider.max;
  const step = steps[Number(slider.value)];
  at("step").textContent = `step ${step.toLocaleString("en")}`;
  const wanted = JSON.stringify([step, now.runs.map((run) => run.pictures.filter((p) => p.step === step))]);
  if (wanted === picturesKnown) return;
  picturesKnown = wanted;
  at("shown").replaceChildren(...now.runs.map((run, index) => {
    const strip = make("div", "", "strip"), row = make("div", "", "row"), title = make("h3");
    title.append(dot(index), make("span", run.name));
    const found = run.pictures.filter((p) => p.step === step);
    for (const picture of found) {
      const image = make("img");
      image.src = picture.address;
      image.alt = harmless(picture.name);
      row.append(image);
    }
    strip.append(title, found.length ? row : make("p", "No picture at this step.", "soft"));
    return strip;
  }));
}
at("at_step").addEventListener("input", showPictures);
