// Sliders, menus and buttons that move a place.

const FIRST = 8; // sliders that are seen at once: the others hardly matter, or are many

class Controls {
  constructor(model, place, moved) {
    Object.assign(this, { model, place });
    const labels = model.rows && model.rows.labels ? [...new Set(model.rows.labels)].sort() : null;
    this.pad = new Pad(place, labels, moved);
    const names = place.axes.map((axis) => axis.name);
    const turn = (side) => (number) => { this.pad[side] = number; moved(); };
    this.across = menu("Across", names, this.pad.across, turn("across"));
    this.up = menu("Up", names, this.pad.up, turn("up"));
    this.sliders = place.axes.map((axis) => this.slider(axis, moved));
    const more = this.sliders.slice(FIRST).map((slider) => slider.element);
    this.element = make("div", { class: "controls" }, this.buttons(moved), ...this.menus(moved),
      make("div", { class: "pad-box" }, this.pad.canvas, make("div", { class: "turns" }, this.across.element, this.up.element), this.legend(labels)),
      ...this.sliders.slice(0, FIRST).map((slider) => slider.element),
      more.length ? make("details", {}, make("summary", {}, `${more.length} more`), ...more) : null);
  }

  legend(labels) {
    if (!labels || labels.length > 20) return null;
    const marks = labels.map((label, number) => make("span", {}, make("span", { class: `mark b${number % 10}` }), label));
    return make("p", { class: "legend" }, ...marks);
  }

  buttons(moved) {
    const button = (text, go) => make("button", { type: "button", onclick: () => { go(); moved(); } }, text);
    return make("div", { class: "buttons" }, button("Centre", () => this.place.toCentre()), button("Anywhere", () => this.place.toAnywhere()));
  }

  menus(moved) {
    const { choices, rows } = this.model;
    this.choices = choices.map((choice, number) => menu(choice.name === "given" ? "Given" : choice.name, choice.words, 0, (chosen) => {
      this.place.choices[number] = chosen;
      moved();
    }));
    const found = this.choices.map((one) => one.element);
    if (!rows) return found;
    const words = Array.from({ length: rows.count }, (_, row) => `row ${row}${rows.labels ? `: ${rows.labels[row]}` : ""}`);
    this.start = menu("Start from", ["no row", ...words], 0, (chosen) => {
      if (chosen) this.place.toRow(chosen - 1);
      else this.place.row = null;
      moved();
    });
    return [this.start.element, ...found];
  }

  slider(axis, moved) {
    const id = `slider-${++labelled}`, output = make("output", { for: id });
    const input = make("input", {
      id, type: "range", min: axis.low, max: axis.high, step: (axis.high - axis.low) / 400, value: axis.centre,
      oninput: () => { this.place.move(axis, Number(input.value)); moved(); },
    });
    const share = `${Math.round(100 * axis.share)} % set by the data`;
    const label = make("label", { for: id }, axis.name, make("small", {}, axis.free ? `free scale, ${share}` : share));
    return { axis, input, output, element: make("div", { class: "slider" }, label, output, input) };
  }

  show() {
    for (const { axis, input, output } of this.sliders) {
      const value = this.place.values[axis.dim];
      if (input.getRootNode().activeElement !== input) input.value = value;
      output.textContent = numberWords(value);
      input.setAttribute("aria-valuetext", numberWords(value));
    }
    this.choices.forEach((one, number) => (one.select.selectedIndex = this.place.choices[number]));
    if (this.start) this.start.select.selectedIndex = this.place.row === null ? 0 : this.place.row + 1;
    this.pad.show();
  }
}
