// What a notebook asks for: the explorer in an element whose style is its own, and stays there.

function render({ model, el }) {
  const host = document.createElement("div"), look = document.createElement("style"), root = document.createElement("div");
  look.textContent = LOOK;
  host.attachShadow({ mode: "open" }).append(look, root);
  el.append(host);
  host.explorer = startExplorer(root, JSON.parse(model.get("found")));
}

export default { render };
