// The data as it is asked for: profiles and series are decoded from base64 when they are first shown.
// A size is stored as log10 beside its state, so that 1e-300 and exactly 0 are two different things.

const ABSENT = 0, FINITE = 1, UNDERFLOW = 2, ZERO = 3, INF = 4, NAN = 5;

const report = JSON.parse(document.getElementById("data").textContent);

function bytes(text) {
  const raw = atob(text), array = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) array[i] = raw.charCodeAt(i);
  return array;
}
const floats = (text) => new Float32Array(bytes(text).buffer);
const doubles = (text) => new Float64Array(bytes(text).buffer);
const integers = (text) => new Int32Array(bytes(text).buffer);

// The number behind a log10 and a state; undefined where nothing was recorded.
function valueOf(log, state) {
  return [undefined, 10 ** log, 10 ** log, 0, Infinity, NaN][state];
}

// The last position in ascending numbers that is not above `x`, at least 0.
function lastUpTo(numbers, x) {
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= x) low = middle + 1; else high = middle;
  }
  return Math.max(low - 1, 0);
}

// One signal over frames and layers. A frame is a recorded step, and stands for those up to the next frame.
class Profile {
  constructor(raw) {
    Object.assign(this, { id: raw.id, title: raw.title, unit: raw.unit, axis: raw.axis, scale: raw.scale, chance: raw.chance, theory: raw.theory && floats(raw.theory) });
    this.raw = raw;
    this.steps = raw.steps;
    this.until = raw.until || raw.steps;
    this.layers = raw.names.map((i) => report.names[i]);
    this.reduced = Boolean(raw.until);
    this.decoded = null;
  }

  get arrays() {
    if (!this.decoded) {
      const values = floats(this.raw.values), states = bytes(this.raw.states);
      const marks = this.reduced ? bytes(this.raw.marks) : states;
      const low = this.reduced ? floats(this.raw.low) : values, high = this.reduced ? floats(this.raw.high) : values;
      this.decoded = { values, states, marks, low, high };
      this.raw.values = this.raw.states = this.raw.low = this.raw.high = this.raw.marks = null;
    }
    return this.decoded;
  }

  frame(step) { return lastUpTo(this.steps, step); }

  // What was recorded at a frame's own step: `log` is NaN where the state has none.
  at(frame, layer) {
    const i = frame * this.layers.length + layer, { values, states, low, high, marks } = this.arrays;
    return { log: values[i], state: states[i], value: valueOf(values[i], states[i]), low: low[i], high: high[i], mark: marks[i] & 127 };
  }

  // What must be missed least within a frame: the state, and of two sizes the one further from the layer's usual.
  peak(i) {
    const { marks, low, high } = this.arrays;
    return { state: marks[i] & 127, log: marks[i] & 128 ? low[i] : high[i] };
  }

  // The smallest and largest log10 over everything, and which states occur, each with its first step.
  get extent() {
    if (!this.range) {
      const { low, high, marks } = this.arrays, since = new Map(), width = this.layers.length;
      let least = Infinity, most = -Infinity;
      for (let i = 0; i < marks.length; i++) {
        if (low[i] < least) least = low[i];
        if (high[i] > most) most = high[i];
        const state = marks[i] & 127;
        if (state !== FINITE && !since.has(state)) since.set(state, this.steps[Math.floor(i / width)]);
      }
      this.range = { low: least, high: most, since };
    }
    return this.range;
  }
}

// A column of the table of steps.
class Series {
  constructor(raw) {
    this.name = raw.name;
    this.recorded = raw.recorded;
    this.steps = integers(raw.steps);
    this.values = doubles(raw.values);
    this.states = bytes(raw.states);
  }
  at(step) {
    const i = lastUpTo(this.steps, step), state = this.states[i];
    return { step: this.steps[i], value: state === INF ? Infinity : this.values[i], state };
  }
}

const runs = report.runs.map((raw, index) => ({
  ...raw,
  index,
  profiles: new Map(raw.profiles.map((p) => [p.id, new Profile(p)])),
  series: new Map(Object.entries(raw.series).map(([column, s]) => [column, new Series(s)])),
}));
