// Several cameras: an overview with a card for each, and links between their pages. With one camera, nothing.

import { $, app, element } from "./app.js";
import { CAMERA, ofCamera } from "./requests.js";

const PICTURE_MS = 4000; // how often the picture of a card is renewed

let renewedAt = -PICTURE_MS;

// Show the overview instead of one camera, if there are several and the address names none. Returns whether it is shown.
export function showOverview() {
  const cameras = Object.entries(app.status.cameras || {});
  const shown = cameras.length > 0 && CAMERA === null;
  $("overview").hidden = !shown;
  $("page").hidden = shown;
  showLinks(cameras, shown);
  if (!shown) return false;
  if ($("overview").childElementCount !== cameras.length) {
    $("overview").replaceChildren(...cameras.map(([name]) => card(name)));
  }
  const renew = performance.now() - renewedAt >= PICTURE_MS;
  if (renew) renewedAt = performance.now();
  for (const [index, [name, camera]] of cameras.entries()) update($("overview").children[index], name, camera, renew);
  return true;
}

export function hideOverview() {
  $("overview").hidden = true;
  $("cameras").hidden = true;
}

// One sentence on all cameras, for the headline.
export function summary() {
  const cameras = Object.values(app.status.cameras);
  const bad = cameras.filter((camera) => camera.source.state !== "running" || Object.keys(camera.faults).length);
  return bad.length ? `${bad.length} of ${cameras.length} cameras need attention` : `${cameras.length} cameras running`;
}

export const attention = () => /need/.test(summary());

function showLinks(cameras, overview) {
  $("cameras").hidden = cameras.length === 0 || overview;
  if ($("cameras").hidden || $("cameras").childElementCount) return;
  const links = cameras.map(([name]) => link(name, `?camera=${encodeURIComponent(name)}`, name === CAMERA));
  $("cameras").replaceChildren(link("All cameras", "./", false), ...links);
}

function link(text, href, current) {
  const made = element("a", { href }, text);
  if (current) made.setAttribute("aria-current", "page");
  return made;
}

function card(name) {
  const picture = element("img", { alt: "", width: 320, height: 180 });
  return element("a", { href: `?camera=${encodeURIComponent(name)}` }, picture, element("strong", {}, name), element("span"));
}

function update(made, name, camera, renew) {
  const [picture, , text] = made.children;
  const running = camera.source.state === "running";
  const faults = Object.values(camera.faults).map((fault) => fault.text || fault.fault);
  text.textContent = faults.length ? faults.join(" ") : `${camera.source.state}, ${camera.frames} frames`;
  text.className = faults.length ? "bad" : "quiet";
  made.classList.toggle("lost", !running);
  if (running && renew) picture.src = `${ofCamera("snapshot.jpg", name)}&at=${Math.round(performance.now())}`;
}
