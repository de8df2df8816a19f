// What the decoder answers: at once for a place, and bit by bit for the spread around it.

const NEAR = 1e-4;

class Answers {
  constructor(model, constants) {
    this.model = model;
    this.constants = constants;
    this.programs = model.programs.map(() => null);
  }

  // The program of a situation, compared with torch before it is used.
  program(number) {
    if (this.programs[number] === null) {
      const made = new Program(this.model.programs[number], this.constants);
      const { at, wanted } = this.model.checks[number];
      const found = made.run(at).flatMap((output) => Array.from(output)), numbers = this.constants[wanted];
      let far = 0;
      found.forEach((value, place) => {
        const same = value === numbers[place] || (value !== value && numbers[place] !== numbers[place]);
        const off = same ? 0 : Math.abs(value - numbers[place]) / Math.max(1, Math.abs(numbers[place]));
        far = off <= far ? far : off;
      });
      if (!(far <= NEAR)) throw new Error(`what this browser computes is ${far} away from what torch has computed`);
      this.programs[number] = made;
      this.far = Math.max(this.far || 0, far);
    }
    return this.programs[number];
  }

  at(place) {
    return this.program(place.situation).run(place.values);
  }

  // Standard deviations of the outputs over draws around a place; `more` goes on while there is time.
  spread(place) {
    const program = this.program(place.situation);
    let number = 0, sums = null, squares = null, centre = null;
    return {
      more(until) {
        do {
          const found = program.run(place.drawn(number++));
          centre = centre || found;
          sums = sums || found.map((output) => new Float64Array(output.length));
          squares = squares || found.map((output) => new Float64Array(output.length));
          found.forEach((output, which) => output.forEach((value, i) => {
            const off = value - centre[which][i];
            sums[which][i] += off;
            squares[which][i] += off * off;
          }));
        } while (number < place.draws && performance.now() < until);
        if (number < place.draws) return null;
        return sums.map((sum, which) => sum.map((one, i) => Math.sqrt(Math.max(0, squares[which][i] / place.draws - (one / place.draws) ** 2))));
      },
    };
  }
}
