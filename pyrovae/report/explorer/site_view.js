// What the model says of one observed site: pictures, a line, or a table.

const FEW = 60; // elements that a table shows

class SiteView {
  constructor(site, rowData) {
    this.site = site;
    this.rowData = rowData; // of the rows that the page holds, or null
    this.length = site.picture ? site.picture.reduce((a, b) => a * b, 1) : site.names.length;
    this.kind = site.picture ? "picture" : this.length > FEW && site.parts.every((part) => !part.classes) ? "line" : "table";
    this.heading = make("h3", {}, site.name);
    this.element = make("div", { class: `site ${this.kind}` }, this.heading);
    this[`begin_${this.kind}`]();
  }

  // In the units of the data: what it is, or how wide.
  scaled(output, wide) {
    const [times, plus] = this.site.units;
    return times === 1 && plus === 0 ? output : output.map((value) => (wide ? value * Math.abs(times) : value * times + plus));
  }

  show(outputs, spread, place) {
    this[`show_${this.kind}`](outputs, spread, place);
  }

  // --- pictures ---------------------------------------------------------------------------------------
  begin_picture() {
    const figure = (name) => {
      const canvas = make("canvas", { role: "img", "aria-label": name }), words = make("span");
      this[name] = { canvas, words, box: make("figure", {}, canvas, make("figcaption", {}, make("strong", {}, name), words)) };
      return this[name].box;
    };
    this.element.append(make("div", { class: "views" }, figure("Row"), figure("Mean"), figure("Noise"), figure("Latent")));
    this.Row.box.hidden = true;
  }

  show_picture(outputs, spread, place) {
    const { picture, limits, parts } = this.site, [first, second] = parts[0].outputs;
    const mean = this.scaled(outputs[first]), noise = second === undefined ? null : this.scaled(outputs[second], true);
    const latent = spread && this.scaled(spread[first], true);
    drawValues(this.Mean.canvas, picture, mean, limits);
    this.say(this.Mean, `from ${numberWords(limits[0])}, black, to ${numberWords(limits[1])}`);
    const most = Math.max(largest(noise), largest(latent), 1e-9);
    const to = (sizes) => `mean ${numberWords(average(sizes))}, largest ${numberWords(largest(sizes))}`;
    this.Noise.box.hidden = noise === null;
    if (noise) drawSpread(this.Noise.canvas, picture, noise, most);
    if (noise) this.say(this.Noise, `of an observation: ${to(noise)}`);
    if (latent) drawSpread(this.Latent.canvas, picture, latent, most);
    if (latent) this.say(this.Latent, `spread of the mean: ${to(latent)}`);
    this.Row.box.hidden = place.row === null || !this.rowData;
    if (this.Row.box.hidden) return;
    drawValues(this.Row.canvas, picture, this.scaled(this.rowValues(place.row)), limits);
    this.say(this.Row, `row ${place.row}, as it is`);
  }

  say({ canvas, words }, text) {
    words.textContent = text;
    canvas.setAttribute("aria-label", text);
  }

  rowValues(row) {
    return this.rowData.slice(row * this.length, (row + 1) * this.length);
  }

  // --- lines ------------------------------------------------------------------------------------------
  begin_line() {
    this.canvas = make("canvas", { role: "img" });
    this.words = make("figcaption");
    this.element.append(make("figure", {}, this.canvas, this.words));
  }

  show_line(outputs, spread) {
    const [first, second] = this.site.parts[0].outputs, mean = this.scaled(outputs[first]);
    const noise = second === undefined ? null : this.scaled(outputs[second], true), latent = spread && this.scaled(spread[first], true);
    const [low, high] = drawLine(this.canvas, mean, noise, latent);
    this.words.textContent =
      `${this.length} elements, drawn from ${numberWords(low)} to ${numberWords(high)}; mean ${numberWords(average(mean))}` +
      (noise ? `, noise ${numberWords(average(noise))}` : "") + (latent ? `, latent ${numberWords(average(latent))}` : "");
    this.canvas.setAttribute("aria-label", this.words.textContent);
  }

  // --- tables -----------------------------------------------------------------------------------------
  begin_table() {
    const head = make("tr", {}, ...["", "mean", "noise", "latent"].map((text) => make("th", { scope: "col" }, text)));
    this.row = make("th", { scope: "col", hidden: true }, "row");
    head.append(this.row);
    this.body = make("tbody");
    this.cells = [];
    for (const part of this.site.parts) {
      const places = part.places || Array.from({ length: this.length }, (_, i) => i);
      places.forEach((place, number) => (this.cells[place] = { part, number }));
    }
    this.cells = this.cells.slice(0, FEW);
    this.cells.forEach((cell, place) => {
      cell.fields = Array.from({ length: 4 }, () => make("td"));
      cell.fields[3].hidden = true;
      this.body.append(make("tr", {}, make("th", { scope: "row" }, this.site.names[place] || this.site.name), ...cell.fields));
    });
    this.element.append(make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": this.site.name }, make("table", {}, make("thead", {}, head), this.body)));
    if (this.length > FEW) this.element.append(make("p", { class: "note" }, `The first ${FEW} of ${this.length}.`));
  }

  words(place, value) {
    const { levels, dates } = this.site;
    if (levels && levels[place].length) return levels[place][Math.round(value)] || "none";
    return dates && dates[place] ? dateWords(value) : numberWords(value * this.site.units[0] + this.site.units[1]);
  }

  show_table(outputs, spread, at) {
    const shown = at.row !== null && this.rowData;
    this.row.hidden = !shown;
    this.cells.forEach(({ part, number, fields }, place) => {
      const [mean, noise, latent, row] = fields, [first, second] = part.outputs, times = Math.abs(this.site.units[0]);
      if (part.classes) this.showClasses(place, part, number, fields, outputs[first], spread && spread[first]);
      else {
        mean.textContent = this.words(place, outputs[first][number]);
        noise.textContent = second === undefined ? "" : this.wide(place, outputs[second][number] * times);
        if (spread) latent.textContent = this.wide(place, spread[first][number] * times);
      }
      row.hidden = !shown;
      if (shown) row.textContent = this.rowWords(place, this.rowData[at.row * this.length + place]);
    });
  }

  rowWords(place, value) {
    return value !== value ? "missing" : this.words(place, value);
  }

  wide(place, value) {
    return `± ${numberWords(value)}${this.site.dates && this.site.dates[place] ? " days" : ""}`;
  }

  // The most probable class, how probable it is, and how far that moves.
  showClasses(place, { classes }, number, [mean, noise, latent], shares, spread) {
    let best = 0;
    for (let k = 1; k < classes; k++) if (shares[number * classes + k] > shares[number * classes + best]) best = k;
    const levels = this.site.levels && this.site.levels[place], share = shares[number * classes + best];
    mean.textContent = levels && levels.length ? levels[best] : `class ${best}`;
    noise.replaceChildren(make("meter", { min: 0, max: 1, value: share, "aria-hidden": "true" }), ` ${numberWords(100 * share)} %`);
    if (spread) latent.textContent = `± ${numberWords(100 * spread[number * classes + best])} %`;
  }
}

function largest(values) {
  return values ? values.reduce((most, value) => (value > most && value < Infinity ? value : most), 0) : 0;
}

function average(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
