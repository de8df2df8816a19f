// The pad: two latent numbers at once, by pointer or arrow keys.

const SIDE = 320;

class Pad {
  constructor(place, labels, moved) {
    Object.assign(this, { place, labels, moved, across: 0, up: Math.min(1, place.count - 1) });
    this.canvas = make("canvas", {
      width: SIDE, height: SIDE, tabindex: "0", role: "application", class: "pad", "aria-roledescription": "pad",
      onpointerdown: (event) => { this.canvas.setPointerCapture(event.pointerId); this.point(event); },
      onpointermove: (event) => { if (event.buttons) this.point(event); },
      onkeydown: (event) => this.key(event),
    });
  }

  get axes() {
    return [this.place.axes[this.across], this.place.axes[this.up]];
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), [across, up] = this.axes;
    const share = (value) => Math.min(1, Math.max(0, value));
    const right = share((event.clientX - box.left) / box.width), above = 1 - share((event.clientY - box.top) / box.height);
    this.place.move(across, across.low + right * (across.high - across.low));
    if (up !== across) this.place.move(up, up.low + above * (up.high - up.low));
    this.moved();
  }

  key(event) {
    const step = event.shiftKey ? 0.5 : 0.1, [across, up] = this.axes;
    const by = { ArrowLeft: [across, -step], ArrowRight: [across, step], ArrowDown: [up, -step], ArrowUp: [up, step] }[event.key];
    if (!by) return;
    event.preventDefault();
    const [axis, share] = by;
    this.place.move(axis, Math.min(axis.high, Math.max(axis.low, this.place.values[axis.dim] + share * axis.spread)));
    this.moved();
  }

  show() {
    const context = this.canvas.getContext("2d"), [across, up] = this.axes;
    const x = (value) => ((value - across.low) / (across.high - across.low)) * SIDE;
    const y = (value) => SIDE - ((value - up.low) / (up.high - up.low)) * SIDE;
    context.clearRect(0, 0, SIDE, SIDE);
    context.strokeStyle = colour("--soft");
    context.globalAlpha = 0.55;
    for (const reach of [1, 2]) {
      context.beginPath();
      context.ellipse(x(across.centre), y(up.centre), (reach * across.spread * SIDE) / (across.high - across.low), (reach * up.spread * SIDE) / (up.high - up.low), 0, 0, 7);
      context.stroke();
    }
    this.showRows(context, x, y, across, up);
    context.globalAlpha = 1;
    context.strokeStyle = context.fillStyle = colour("--ink");
    context.lineWidth = 2;
    const [atX, atY] = [x(this.place.values[across.dim]), y(this.place.values[up.dim])];
    context.beginPath();
    context.moveTo(atX, 0), context.lineTo(atX, SIDE), context.moveTo(0, atY), context.lineTo(SIDE, atY);
    context.globalAlpha = 0.25;
    context.stroke();
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(atX, atY, 7, 0, 7);
    context.stroke();
    this.canvas.setAttribute("aria-label", `Pad: ${across.name} ${numberWords(this.place.values[across.dim])} across, ${up.name} ${numberWords(this.place.values[up.dim])} up. Arrow keys move, with shift further.`);
  }

  showRows(context, x, y, across, up) {
    const { rows, count } = this.place;
    const colours = Array.from({ length: 10 }, (_, number) => colour(`--p${number}`));
    context.globalAlpha = 0.8;
    for (let row = 0; rows && row < rows.count; row++) {
      context.fillStyle = colours[this.labels ? this.labels.indexOf(rows.labels[row]) % 10 : 0];
      context.beginPath();
      context.arc(x(rows.means[row * count + across.dim]), y(rows.means[row * count + up.dim]), 2.6, 0, 7);
      context.fill();
    }
  }
}
