// Elements of the page. Names and values are texts, never markup.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function numberWords(value) {
  if (!Number.isFinite(value)) return value !== value ? "none" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(1) : size >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
}

function dateWords(days) {
  const date = new Date(days * 864e5);
  return Number.isNaN(date.getTime()) ? "none" : date.toISOString().slice(0, 10);
}

let labelled = 0;

// A menu with its label in front.
function menu(label, options, chosen, onchange) {
  const id = `menu-${++labelled}`;
  const select = make("select", { id, onchange: () => onchange(select.selectedIndex) });
  options.forEach((text) => select.append(make("option", {}, text)));
  select.selectedIndex = chosen;
  return { select, element: make("div", { class: "menu" }, make("label", { for: id }, label), select) };
}

// What is drawn now, which in a notebook has a style of its own.
const stage = { root: null };

// The colours of the page as it is now, light or dark.
function colour(name) {
  return getComputedStyle(stage.root || document.documentElement).getPropertyValue(name).trim() || "#888";
}
