// Pictures: small ones in rows, all of one kind in a gallery, and a single one with its facts.
let flipping = []; // the pictures that the viewer goes through
let looked = 0;

const ratio = (picture) => (picture.size ? picture.size[0] / picture.size[1] : 1);

function place(node, box) {
  const [left, top, right, bottom] = box.map((side) => 100 * side);
  node.style.left = `${left}%`;
  node.style.top = `${top}%`;
  node.style.width = `${right - left}%`;
  node.style.height = `${bottom - top}%`;
}

// One picture of a row; `list` is what the viewer then goes through.
function thumb(index, list, note, cropped) {
  const picture = data.pictures[index];
  const node = make("figure");
  // A very wide or tall picture must not fill a row, nor vanish.
  node.style.setProperty("--ratio", Math.min(2.6, Math.max(0.5, ratio(picture))));
  const open = button("", "thumb", () => view(list, list.indexOf(index)));
  open.title = harmless(picture.file);
  if (picture.thumb) {
    const image = make("img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = harmless(picture.file);
    image.src = picture.thumb;
    image.addEventListener("load", () => {
      image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) < 130);
    });
    open.append(image);
  } else {
    open.title += `\n${harmless(picture.fault)}`;
    open.append(make("span", picture.fault || "no picture", "broken"));
  }
  if (cropped && picture.box) {
    // The box lies on the picture itself, which may leave room beside it.
    const frame = make("span", "", "frame");
    frame.style.setProperty("--own", ratio(picture));
    const box = make("span", "", "box");
    place(box, picture.box);
    frame.append(open.firstChild, box);
    open.append(frame);
    node.style.setProperty("--ratio", Math.min(4, Math.max(0.3, ratio(picture))));
  }
  node.append(open);
  if (note) node.append(make("figcaption", note));
  return node;
}

function pictures(place, list, options = {}) {
  const row = make("div", "", `row ${options.className || ""}`);
  place.append(row);
  const build = (index) => thumb(index, list, options.note && options.note(index), options.cropped);
  inSteps(row, list, options.step || 24, build, "picture");
}

// `all` is how many there are; the page may hold a part of them.
function gallery(title, list, all, options) {
  at("viewer").close();
  at("gallery_title").textContent = harmless(title);
  at("gallery_count").textContent = all > list.length
    ? `${number(list.length)} of ${count(all, "picture")}; this page holds ${number(data.pictures.length)} of all ${number(data.all_pictures)}`
    : count(list.length, "picture");
  at("gallery_pictures").replaceChildren();
  if (list.length) pictures(at("gallery_pictures"), list, { step: 60, ...options });
  else at("gallery_pictures").append(make("p", "None of them is in this page. To have more pictures in it, make it with a larger --pictures.", "soft"));
  if (!at("gallery").open) at("gallery").showModal();
  at("gallery").scrollTop = 0;
}

const having = (test) => data.pictures.map((_, index) => index)
  .filter((index) => test(data.pictures[index]));

function view(list, position) {
  flipping = list;
  looked = (position + list.length) % list.length;
  const picture = data.pictures[list[looked]];
  const folder = data.folders[picture.folder];
  const image = at("large");
  image.parentElement.style.setProperty("--own", ratio(picture));
  // The small copy is there at once, and stays where the picture itself cannot be shown.
  image.parentElement.style.backgroundImage = picture.thumb ? `url("${picture.thumb}")` : "";
  image.alt = harmless(picture.file);
  image.onerror = () => {
    image.onerror = null; // the data set was moved, or the browser cannot show this format
    image.src = picture.thumb;
  };
  image.src = picture.src;
  at("viewer_title").textContent = harmless(picture.file);
  at("facts").textContent = harmless([
    picture.fault,
    picture.size && `${picture.size.join(" × ")} pixels`,
    picture.bucket && `trained at ${picture.bucket.join(" × ")}`,
    picture.lost > 0 && `${percent(picture.lost, 1)} cut off`,
    folder.repeats === 1 ? "once an epoch" : `${number(folder.repeats, 2)} times an epoch`,
    picture.tokens !== null && picture.written && count(picture.tokens, "token"),
    `${looked + 1} of ${list.length}`,
  ].filter(Boolean).join(", "));
  at("caption").textContent = harmless(picture.caption || "no caption");
  at("caption").classList.toggle("soft", !picture.written);
  at("chips").replaceChildren(...picture.tags.map((tag) => button(
    data.tags[tag].name, "chip", () => showTag(tag),
  )));
  crop();
  if (!at("viewer").open) at("viewer").showModal();
}

function crop() {
  const picture = data.pictures[flipping[looked]];
  at("box").hidden = !(at("cropping").checked && picture.box);
  if (picture.box) place(at("box"), picture.box);
}

function showTag(tag, folders) {
  const { name, pictures: all } = data.tags[tag];
  const inside = (picture) => !folders || folders.has(picture.folder);
  const list = having((picture) => picture.tags.includes(tag) && inside(picture));
  gallery(name, list, folders ? tagIn(tag, folders)[0] : all);
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
at("before").addEventListener("click", () => view(flipping, looked - 1));
at("after").addEventListener("click", () => view(flipping, looked + 1));
at("cropping").addEventListener("change", crop);
at("viewer").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // these are the browser's
  if (event.key === "ArrowLeft") view(flipping, looked - 1);
  else if (event.key === "ArrowRight") view(flipping, looked + 1);
  else if (event.key === "c") at("cropping").click();
  else return;
  event.preventDefault();
});
