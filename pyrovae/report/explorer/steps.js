// The steps that programs are made of: each takes arrays of numbers and writes one.
// Numbers are doubles throughout, so that sums of many small terms lose nothing.

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

function lgamma(x) {
  if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - lgamma(1 - x);
  const t = x + 6.5;
  let sum = LANCZOS[0];
  for (let i = 1; i < 9; i++) sum += LANCZOS[i] / (x - 1 + i);
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

function digamma(x) {
  if (x <= 0) return x === Math.floor(x) ? NaN : digamma(1 - x) - Math.PI / Math.tan(Math.PI * x);
  let sum = 0;
  for (; x < 6; x++) sum -= 1 / x;
  const r = 1 / (x * x);
  return sum + Math.log(x) - 0.5 / x - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))));
}

// By its series near 0 and by a continued fraction beyond: both to the last digits of a double.
function erf(x) {
  const a = Math.abs(x);
  if (a > 3) return Math.sign(x) * (1 - erfcBeyond(a));
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += (term *= (-x * x) / n) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function erfcBeyond(a) {
  return Math.exp(-a * a) * erfcx(a);
}

function erfcx(a) {
  if (a <= 3) return Math.exp(a * a) * (1 - erf(a));
  let f = 0;
  for (let k = 60; k > 0; k--) f = k / 2 / (a + f);
  return 1 / Math.sqrt(Math.PI) / (a + f);
}

// Halves go to the even number, as torch rounds.
function rounded(x) {
  const low = Math.floor(x), rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

const EACH = {
  neg: (a) => -a, exp: Math.exp, exp2: (a) => 2 ** a, expm1: Math.expm1, log: Math.log, log1p: Math.log1p,
  log2: Math.log2, log10: Math.log10, sqrt: Math.sqrt, rsqrt: (a) => 1 / Math.sqrt(a), reciprocal: (a) => 1 / a,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)), tanh: Math.tanh, relu: (a) => (a > 0 || a !== a ? a : 0), abs: Math.abs,
  sin: Math.sin, cos: Math.cos, tan: Math.tan, atan: Math.atan, sinh: Math.sinh, cosh: Math.cosh, asinh: Math.asinh,
  acosh: Math.acosh, atanh: Math.atanh, asin: Math.asin, acos: Math.acos, erf, erfc: (a) => (a > 3 ? erfcBeyond(a) : 1 - erf(a)),
  special_erfcx: erfcx,
  sign: Math.sign, floor: Math.floor, ceil: Math.ceil, round: rounded, trunc: Math.trunc, lgamma, digamma,
  isnan: (a) => +(a !== a), isinf: (a) => +(Math.abs(a) === Infinity), logical_not: (a) => +(a === 0), square: (a) => a * a,
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, pow: (a, b) => a ** b,
  maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b), floor_divide: (a, b) => Math.floor(a / b),
  eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b), lt: (a, b) => +(a < b), le: (a, b) => +(a <= b),
  gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b), logical_and: (a, b) => +(a !== 0 && b !== 0),
  logical_or: (a, b) => +(a !== 0 || b !== 0), logical_xor: (a, b) => +((a !== 0) !== (b !== 0)), atan2: Math.atan2,
  fmod: (a, b) => a % b, remainder: (a, b) => a - b * Math.floor(a / b), where: (c, a, b) => (c !== 0 ? a : b),
};

const REDUCE = {
  sum: [0, (a, b) => a + b], mean: [0, (a, b) => a + b], prod: [1, (a, b) => a * b],
  max: [-Infinity, (a, b) => Math.max(a, b)], min: [Infinity, (a, b) => Math.min(a, b)],
  any: [0, (a, b) => +(a !== 0 || b !== 0)], all: [1, (a, b) => +(a !== 0 && b !== 0)],
};

const RUN = {
  each(step, inputs, out) {
    const f = EACH[step.f], n = step.n, [a, b, c] = inputs;
    if (inputs.length === 1) for (let i = 0; i < n; i++) out[i] = f(a[i]);
    else if (inputs.length === 3) for (let i = 0; i < n; i++) out[i] = f(a[i], b[i], c[i]);
    // What networks are made of, without a call for each number.
    else if (step.f === "add") for (let i = 0; i < n; i++) out[i] = a[i] + b[i];
    else if (step.f === "mul") for (let i = 0; i < n; i++) out[i] = a[i] * b[i];
    else for (let i = 0; i < n; i++) out[i] = f(a[i], b[i]);
  },

  move(step, [x], out) {
    let starts = [step.first];
    const { tables } = step, last = tables.length - 1;
    for (let dim = 0; dim < last; dim++) starts = starts.flatMap((start) => tables[dim].map((place) => start + place));
    const line = tables.length ? tables[last] : [0];
    let at = 0;
    for (const start of starts) for (const place of line) out[at++] = x[start + place];
  },

  pick(step, [x], out, constants) {
    const places = constants[step.places];
    for (let i = 0; i < out.length; i++) out[i] = places[i] ? x[places[i] - 1] : step.fill;
  },

  join(step, inputs, out) {
    let at = 0;
    inputs.forEach((x, number) => {
      for (let i = 0; i < step.sizes[number]; i++) out[at++] = x[i];
    });
  },

  reduce(step, [x], out) {
    const { size, n } = step, arg = step.f.startsWith("arg");
    if (step.f === "squares") return void squares(x, out, n, size);
    const [start, f] = REDUCE[arg ? step.f.slice(3) : step.f];
    for (let i = 0; i < n; i++) {
      let found = start, place = 0;
      for (let j = i * size; j < (i + 1) * size; j++) {
        const next = f(found, x[j]);
        if (next !== found && !(found !== found)) place = j - i * size;
        found = next;
      }
      out[i] = arg ? place : step.f === "mean" ? found / size : found;
    }
  },

  running(step, [x], out) {
    const { size, n } = step, product = step.f === "cumprod";
    for (let i = 0; i < n; i++) {
      let found = product ? 1 : 0;
      for (let j = i * size; j < (i + 1) * size; j++) out[j] = found = product ? found * x[j] : found + x[j];
    }
  },

  product(step, [a, b], out) {
    const { batch, rows, inner, columns } = step;
    out.fill(0);
    for (let n = 0; n < batch; n++)
      for (let i = 0; i < rows; i++) {
        const to = (n * rows + i) * columns;
        for (let k = 0; k < inner; k++) {
          const factor = a[(n * rows + i) * inner + k], from = (n * inner + k) * columns;
          if (factor !== 0) for (let j = 0; j < columns; j++) out[to + j] += factor * b[from + j];
        }
      }
  },

  convolve(step, [x, weight, bias], out) {
    const [count, channels, height, width] = step.shape, [, wide, high, broad] = step.kernel;
    const [, outputs, rows, columns] = step.out, { groups, transposed } = step;
    const each = outputs / groups, taken = channels / groups;
    if (isUsual(step)) return void convolveUsual(step, x, weight, bias, out);
    for (let n = 0; n < count; n++)
      for (let o = 0; o < outputs; o++) {
        const to = (n * outputs + o) * rows * columns, group = Math.floor(o / each);
        out.fill(bias ? bias[o] : 0, to, to + rows * columns);
        for (let c = 0; c < taken; c++) {
          const channel = group * taken + c, from = (n * channels + channel) * height * width;
          const at = transposed ? (channel * wide + (o - group * each)) * high * broad : (o * wide + c) * high * broad;
          for (let p = 0; p < high; p++)
            for (let q = 0; q < broad; q++) {
              const factor = weight[at + p * broad + q];
              if (factor !== 0) (transposed ? scatter : gather)(step, x, out, from, to, p, q, factor);
            }
        }
      }
  },
};

// Three by three, no strides: what most decoders are made of, nine products for each number that is written.
function isUsual({ kernel, stride, dilation, padding, transposed }) {
  const ones = [...stride, ...dilation].every((one) => one === 1);
  return !transposed && ones && kernel[2] === 3 && kernel[3] === 3 && padding[0] === padding[1];
}

function padded(x, planes, height, width, edge) {
  const broad = width + 2 * edge, size = (height + 2 * edge) * broad, found = new Float64Array(planes * size);
  for (let plane = 0; plane < planes; plane++)
    for (let i = 0; i < height; i++) {
      const from = (plane * height + i) * width, to = plane * size + (i + edge) * broad + edge;
      for (let j = 0; j < width; j++) found[to + j] = x[from + j];
    }
  return found;
}

function convolveUsual(step, x, weight, bias, out) {
  const [count, channels, height, width] = step.shape, [, outputs, rows, columns] = step.out, edge = step.padding[0];
  const taken = channels / step.groups, each = outputs / step.groups, broad = width + 2 * edge, plane = (height + 2 * edge) * broad;
  const source = padded(x, count * channels, height, width, edge);
  for (let n = 0; n < count; n++)
    for (let o = 0; o < outputs; o++) {
      const to = (n * outputs + o) * rows * columns, first = Math.floor(o / each) * taken;
      out.fill(bias ? bias[o] : 0, to, to + rows * columns);
      for (let c = 0; c < taken; c++) nine(source, (n * channels + first + c) * plane, broad, weight, (o * taken + c) * 9, out, to, rows, columns);
    }
}

function nine(x, from, broad, w, at, out, to, rows, columns) {
  const a = w[at], b = w[at + 1], c = w[at + 2], d = w[at + 3], e = w[at + 4], f = w[at + 5], g = w[at + 6], h = w[at + 7], k = w[at + 8];
  for (let i = 0; i < rows; i++) {
    let p = from + i * broad, q = p + broad, r = q + broad;
    const start = to + i * columns, end = start + columns;
    for (let j = start; j < end; j++, p++, q++, r++)
      out[j] += a * x[p] + b * x[p + 1] + c * x[p + 2] + d * x[q] + e * x[q + 1] + f * x[q + 2] + g * x[r] + h * x[r + 1] + k * x[r + 2];
  }
}

// Of distances from the mean, which is found first: nothing is lost where it is large.
function squares(x, out, n, size) {
  for (let i = 0; i < n; i++) {
    let mean = 0, sum = 0;
    for (let j = i * size; j < (i + 1) * size; j++) mean += x[j] / size;
    for (let j = i * size; j < (i + 1) * size; j++) sum += (x[j] - mean) ** 2;
    out[i] = sum;
  }
}

// The places i with 0 <= i * stride + offset < limit, of `count` ones.
function inside(count, stride, offset, limit) {
  const first = Math.max(0, Math.ceil(-offset / stride));
  return [first, Math.min(count, Math.floor((limit - 1 - offset) / stride) + 1)];
}

function gather(step, x, out, from, to, p, q, factor) {
  const [, , height, width] = step.shape, [, , rows, columns] = step.out, [down, across] = step.stride;
  const top = p * step.dilation[0] - step.padding[0], left = q * step.dilation[1] - step.padding[1];
  const [firstRow, lastRow] = inside(rows, down, top, height), [first, last] = inside(columns, across, left, width);
  for (let i = firstRow; i < lastRow; i++) {
    const source = from + (i * down + top) * width + left, target = to + i * columns;
    for (let j = first; j < last; j++) out[target + j] += factor * x[source + j * across];
  }
}

function scatter(step, x, out, from, to, p, q, factor) {
  const [, , height, width] = step.shape, [, , rows, columns] = step.out, [down, across] = step.stride;
  const top = p * step.dilation[0] - step.padding[0], left = q * step.dilation[1] - step.padding[1];
  const [firstRow, lastRow] = inside(height, down, top, rows), [first, last] = inside(width, across, left, columns);
  for (let i = firstRow; i < lastRow; i++) {
    const source = from + i * width, target = to + (i * down + top) * columns + left;
    for (let j = first; j < last; j++) out[target + j * across] += factor * x[source + j];
  }
}
