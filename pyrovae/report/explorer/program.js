// Programs: steps with their arrays laid out once, so that a frame allocates nothing.

const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array };

function readConstants(listed, text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return listed.map(([kind, start, count]) => new KINDS[kind](bytes.buffer, start, count));
}

function lengthOf(step) {
  if (step.do === "move") return step.tables.reduce((product, table) => product * table.length, 1);
  if (step.do === "join") return step.sizes.reduce((sum, size) => sum + size, 0);
  if (step.do === "running") return step.n * step.size;
  if (step.do === "product") return step.batch * step.rows * step.columns;
  if (step.do === "convolve") return step.out.reduce((product, size) => product * size, 1);
  return step.n;
}

class Program {
  constructor({ steps, outputs, sizes, inputs }, constants) {
    this.constants = constants;
    this.input = new Float64Array(inputs);
    this.results = [];
    this.work = steps.map((step) => {
      const length = step.do === "pick" ? constants[step.places].length : lengthOf(step);
      const out = new Float64Array(length);
      const inputs = step.in.map((operand) => this.read(operand, length));
      this.results.push(out);
      return { step, run: RUN[step.do], inputs, out };
    });
    this.outputs = outputs.map((operand, number) => this.read(operand, sizes[number]));
  }

  // Where an operand's numbers are; `refresh` brings those up to date that are read in a wider shape.
  read(operand, length) {
    if ("n" in operand) return { array: new Float64Array(length).fill(Number(operand.n)) };
    const source = "c" in operand ? this.constants[operand.c] : operand.v < 0 ? this.input : this.results[operand.v];
    if (!operand.spread) return { array: source };
    const array = new Float64Array(length), [inner, count] = operand.spread;
    const refresh = () => {
      for (let at = 0, i = 0; at < length; i = (i + 1) % count) for (let j = 0; j < inner; j++) array[at++] = source[i];
    };
    refresh();
    return { array, refresh: "c" in operand ? null : refresh };
  }

  run(values) {
    this.input.set(values);
    for (const { step, run, inputs, out } of this.work) {
      for (const one of inputs) if (one.refresh) one.refresh();
      run(step, inputs.map((one) => one.array), out, this.constants);
    }
    for (const one of this.outputs) if (one.refresh) one.refresh();
    return this.outputs.map((one) => one.array.slice());
  }
}
