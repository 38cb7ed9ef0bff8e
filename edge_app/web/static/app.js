// What the modules of the page share: its state, and small helpers to build elements.

export const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]; // Okabe and Ito

// status: of /api/status. last: the latest {result, overlay}. config: of /api/config, or null. hidden: what the view
// leaves out, as "head NAME" and "rule NAME". options: of /api/options, or null.
export const app = { status: null, last: null, config: null, options: null, hidden: new Set() };

export const $ = (id) => document.getElementById(id);

// A new element. Texts become text nodes, never markup: labels and names come from files of the user.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function rows(table, pairs) {
  table.tBodies[0].replaceChildren(
    ...pairs.map(([name, value]) => {
      const heading = element("th", { scope: "row" }, String(name));
      return element("tr", {}, heading, element("td", {}, String(value)));
    }),
  );
}

export const headColor = (name) => COLORS[Math.max(0, Object.keys(app.status.heads).indexOf(name)) % COLORS.length];

// A colored square, for a legend.
export function swatch(color) {
  const square = element("span", { className: "swatch" });
  square.style.background = color;
  return square;
}

// Announce a change to users of screen readers, and show it in the line below the image.
export function say(text) {
  $("announcement").textContent = text;
}
