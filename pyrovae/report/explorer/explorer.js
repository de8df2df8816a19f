// The page as a whole: `startExplorer(root, model)` fills an element and answers what is moved in it.

const NEIGHBOURS = 6, CELLS = 3, PATIENCE = 700;

class Explorer {
  constructor(root, model) {
    this.model = model;
    this.root = root;
    this.constants = readConstants(model.constants, model.bytes);
    this.place = new LatentPlace(model, this.constants);
    this.answers = new Answers(model, this.constants);
    const data = (number) => (model.rows ? this.constants[model.rows.data[number]] : null);
    this.views = model.sites.map((site, number) => new SiteView(site, data(number)));
    this.controls = new Controls(model, this.place, () => this.moved());
    if (this.views.length === 1 && this.views[0].kind !== "table") this.views[0].heading.hidden = true;
    this.neighbours = make("ol", { class: "neighbours" });
    this.said = make("p", { class: "unseen", role: "status", "aria-live": "polite" });
    this.trouble = make("p", { class: "verdict", role: "alert", hidden: true });
    this.around = make("p", { class: "note" });
    this.build();
  }

  build() {
    const section = (name, heading, ...children) => make("section", { class: name, "aria-label": heading }, make("h2", {}, heading), ...children);
    const near = this.model.rows
      ? this.neighbours
      : make("p", { class: "note" }, "No rows of the data are in this page: it was written without any.");
    // What is said first: on a narrow screen it stays in sight above what is moved.
    this.root.replaceChildren(this.trouble, make("div", { class: "sides" },
      section(`what ${this.views[0].kind}`, "What the model says there", ...this.views.map((view) => view.element), this.around),
      section("where", "Where in latent space", this.controls.element),
      section("near", "Rows with codes nearby", near)), this.said);
  }

  // One frame for all that was moved since the last.
  moved() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; this.frame(); });
  }

  frame() {
    const began = performance.now();
    stage.root = this.root;
    try {
      this.outputs = this.answers.at(this.place);
    } catch (error) {
      this.trouble.textContent = `Nothing is shown: ${error.message}. Try another browser, and report it.`;
      this.trouble.hidden = false;
      return;
    }
    this.controls.show();
    this.views.forEach((view) => view.show(this.outputs, null, this.place));
    this.showNeighbours();
    this.root.dataset.milliseconds = (performance.now() - began).toFixed(2);
    this.root.dataset.far = this.answers.far;
    this.spread();
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.speak(), PATIENCE);
  }

  // Between frames, a few milliseconds each time, and anew where something has moved.
  spread() {
    const job = (this.job = this.answers.spread(this.place));
    const go = () => {
      if (job !== this.job) return;
      const found = job.more(performance.now() + 8);
      if (found === null) return void setTimeout(go, 0);
      this.views.forEach((view) => view.show(this.outputs, found, this.place));
      this.root.dataset.spread = "done";
    };
    this.root.dataset.spread = "running";
    setTimeout(go, 0);
    const whose = this.place.row === null ? "as codes are on the whole" : "as the code of this row is";
    this.around.textContent = `Noise: how far an observation lies from the mean. Latent: how far the mean moves where the code is as uncertain ${whose} (${this.place.draws} draws).`;
  }

  showNeighbours() {
    if (!this.model.rows) return;
    const [view] = this.views, held = this.neighbours.contains(this.root.getRootNode().activeElement);
    const found = this.place.nearest(NEIGHBOURS).map(({ row, distance }) => {
      const labels = this.model.rows.labels, words = `row ${row}${labels ? `, ${labels[row]}` : ""}`;
      const picture = view.kind === "picture" ? make("canvas", { "aria-hidden": "true" }) : null;
      if (picture) drawValues(picture, view.site.picture, view.scaled(view.rowValues(row)), view.site.limits);
      const go = () => { this.place.toRow(row); this.moved(); };
      return make("li", {}, make("button", { type: "button", onclick: go, "aria-label": `Start from ${words}, at a distance of ${numberWords(distance)}` },
        picture, words, ...this.firstCells(view, row), make("small", {}, `at ${numberWords(distance)}`)));
    });
    this.neighbours.replaceChildren(...found);
    if (held) this.neighbours.querySelector("button").focus();
  }

  // A few values of a row, where it is one of a table.
  firstCells(view, row) {
    if (view.kind !== "table") return [];
    const names = view.site.names.slice(0, CELLS);
    return names.map((name, place) => make("small", {}, `${name} ${view.rowWords(place, view.rowValues(row)[place])}`));
  }

  speak() {
    const where = this.place.axes.slice(0, 4).map((axis) => `${axis.name} ${numberWords(this.place.values[axis.dim])}`).join(", ");
    const says = this.views.map((view) => {
      if (view.kind !== "table") return `${view.site.name}: mean ${numberWords(average(view.scaled(this.outputs[view.site.parts[0].outputs[0]])))}`;
      const few = view.cells.slice(0, 5).map(({ fields }, place) => `${view.site.names[place]} ${fields[0].textContent}`);
      return `${view.site.name}: ${few.join(", ")}`;
    });
    const [near] = this.place.nearest(1);
    this.said.textContent = `${where}. ${says.join(". ")}.${near ? ` Nearest: row ${near.row}, at ${numberWords(near.distance)}.` : ""}`;
  }
}

function startExplorer(root, model) {
  const explorer = new Explorer(root, model);
  explorer.frame();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => explorer.moved());
  return explorer;
}
