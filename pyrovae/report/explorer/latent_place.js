// A place in latent space: where it is, how uncertain a code is there, which rows are near.

// Opposite draws in pairs: as many pairs as dims where that can be, so that what is linear comes out exactly.
const FEWEST = 8, MOST = 32;

// Normal numbers that are the same at every visit: the picture moves by what is moved, and by nothing else.
function normals(count) {
  let state = 1;
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Float64Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

// Rows of draws whose columns have the variance 1, and no correlation while there are more rows than columns.
function whitened(pairs, dims) {
  const noise = normals(pairs * dims), dot = (a, b) => {
    let sum = 0;
    for (let row = 0; row < pairs; row++) sum += noise[row * dims + a] * noise[row * dims + b];
    return sum;
  };
  for (let dim = 0; dim < dims; dim++) {
    for (let other = 0; other < Math.min(dim, pairs - 1); other++) {
      const share = dot(dim, other) / pairs;
      for (let row = 0; row < pairs; row++) noise[row * dims + dim] -= share * noise[row * dims + other];
    }
    const size = Math.sqrt(dot(dim, dim) / pairs);
    for (let row = 0; row < pairs; row++) noise[row * dims + dim] /= size;
  }
  return noise;
}

class LatentPlace {
  constructor(model, constants) {
    this.axes = model.axes;
    this.count = this.axes.length;
    this.values = new Float64Array(this.count);
    this.choices = model.choices.map(() => 0);
    this.sizes = model.choices.map((choice) => choice.words.length);
    this.pairs = Math.max(FEWEST, Math.min(MOST, this.count));
    this.draws = 2 * this.pairs;
    this.noise = whitened(this.pairs, this.count);
    this.rows = model.rows && {
      ...model.rows, means: constants[model.rows.means], scales: constants[model.rows.scales],
    };
    this.toCentre();
  }

  get situation() {
    return this.choices.reduce((number, choice, place) => number * this.sizes[place] + choice, 0);
  }

  toCentre() {
    for (const axis of this.axes) this.values[axis.dim] = axis.centre;
    this.row = null;
  }

  toAnywhere() {
    for (const axis of this.axes) {
      const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      this.values[axis.dim] = Math.min(axis.high, Math.max(axis.low, axis.centre + axis.spread * normal));
    }
    this.row = null;
  }

  toRow(row) {
    this.values.set(this.rows.means.subarray(row * this.count, (row + 1) * this.count));
    let number = this.rows.situations[row];
    for (let place = this.sizes.length - 1; place >= 0; place--) {
      this.choices[place] = number % this.sizes[place];
      number = Math.floor(number / this.sizes[place]);
    }
    this.row = row;
  }

  move(axis, value) {
    this.values[axis.dim] = value;
    this.row = null;
  }

  // As uncertain as the row's own code, or as codes are on the whole: opposite draws in pairs.
  drawn(number) {
    const sign = number % 2 ? -1 : 1, start = Math.floor(number / 2) * this.count, found = this.values.slice();
    for (const { dim, typical } of this.axes) {
      const scale = this.row === null ? typical : this.rows.scales[this.row * this.count + dim];
      found[dim] += sign * scale * this.noise[start + dim];
    }
    return found;
  }

  // The rows whose codes are nearest, distances in spreads of the codes.
  nearest(most) {
    if (!this.rows) return [];
    const found = [];
    for (let row = 0; row < this.rows.count; row++) {
      let sum = 0;
      for (const { dim, spread } of this.axes) sum += ((this.rows.means[row * this.count + dim] - this.values[dim]) / spread) ** 2;
      found.push({ row, distance: Math.sqrt(sum) });
    }
    return found.sort((a, b) => a.distance - b.distance).slice(0, most);
  }
}
