// The state of the page: the open model, the text that has been read with the states after each
// character, and the chosen unit, the pins and the selected spans.

const element = (id) => document.getElementById(id);
const box = element("text");
const KEPT = 5000; // characters of the text; earlier ones are dropped
const DROPPED = 100; // characters at a time, so that the page lays out little at once
const BACK = 100; // characters that the saliency goes back
const COMPARED = 2000; // characters, the latest, over which units are compared with a feature
const SLICE = 12; // milliseconds of work at a time, so that the page stays responsive
const ENOUGH = 3; // spans that a ranking needs

const scripts = document.querySelectorAll("script.weights");
const models = JSON.parse(element("descriptions").textContent).map((description, k) => ({
  description,
  weights: () => weightsOf(description, scripts[k].textContent),
}));
let description, network, characters, words; // of the model that is open
let first = 0; // the number of the first character that is still kept
// The list of { n, id, written, bits, states, element }: a character, its surprise, its states
let text = [];
let origin; // the states before all of them
let values, logits; // of the latest step, and of the zero state at first
let pins = []; // of { layer, unit, c, h }: units that are held
let chosen = null; // a unit: { layer, unit }
let moment = null; // the number of a character that was clicked
let spans = []; // of [from, to]: numbers of the first and the last character of each
let changes = 0; // of the text, by a person: work in slices on an older one ends
let colouring = "unit"; // what colours the text: "unit", "surprise" or "none"
let writing = null; // while it writes: { since, owed, written }
const temperature = () => Number(element("temperature").value);
const other = () => Number(element("other").value);
const speed = () => SPEEDS[Number(element("speed").value)];

/** Clear the text and begin at the zero state. */
function reset() {
  [text, spans, moment, first] = [[], [], null, 0];
  element("example").textContent = "";
  origin = network.layers.map(zeroState);
  rerun();
  box.replaceChildren();
}

/** Run a generator to its end. */
function atOnce(work) {
  let step;
  do step = work.next();
  while (!step.done);
  return step.value;
}

/** Run a generator in slices, the first one now, while it is wanted; `then` gets its value. */
function inSlices(work, wanted, then, between = () => {}) {
  const end = performance.now() + SLICE;
  let step;
  do step = work.next();
  while (!step.done && performance.now() < end);
  if (step.done) then(step.value);
  else {
    between();
    setTimeout(() => wanted() && inSlices(work, wanted, then, between));
  }
}

/** Whether the text is still the one of now, for `inSlices`. */
function unchanged() {
  const now = changes;
  return () => now === changes;
}

/** What a later step needs of the values of this one. */
function stateOf(values, { kind }) {
  return Object.fromEntries(kind.state.map((name) => [name, values[name]]));
}

/** The states before a character of the text. */
function statesBefore(n) {
  return n > first ? text[n - 1 - first].states : origin;
}

/** The step that read a character, once more with these pins; before the first, the states. */
function stepAt(n, pins) {
  if (n >= first) return step(network, text[n - first].id, statesBefore(n), pins);
  const values = origin.map((state) => ({ ...state, h: state.h.slice(), c: state.c?.slice() }));
  values.forEach((state, k) => hold(state, k, pins));
  return { values, logits: logitsOf(network.dense, values.at(-1).h) };
}

/** The latest step again, when the pins or the text have changed. */
function rerun() {
  ({ values, logits } = stepAt(first + text.length - 1, pins));
  if (text.length) text.at(-1).states = values.map((v, k) => stateOf(v, network.layers[k]));
}

/** Feed a character to the network, from the prompt or one that it generated. */
function feed(id, written) {
  const before = values.map((v, k) => stateOf(v, network.layers[k]));
  const bits = surpriseOf(logits, id);
  ({ values, logits } = step(network, id, before, pins));
  const states = values.map((v, k) => stateOf(v, network.layers[k]));
  const span = document.createElement("span");
  span.textContent = characters[id];
  span.classList.toggle("break", characters[id] === "\n");
  span.classList.toggle("prompt", !written);
  const entry = { n: first + text.length, id, written, bits, states, element: span };
  colour(entry);
  text.push(entry);
  let line = box.lastElementChild; // lines of their own, as a browser lays out each by itself
  if (!line || line.lastChild.className.includes("break")) box.append((line = make("div", "")));
  line.append(span);
}

/** Remove characters from the page. */
function remove(entries) {
  for (const { element } of entries) {
    const line = element.parentNode;
    element.remove();
    if (!line.hasChildNodes()) line.remove();
  }
}

/** Draw a character and feed it to the network. */
function writeOne(temperature, u = Math.random()) {
  const id = draw(probabilitiesOf(logits, temperature), u);
  feed(id, true);
  if (text.length > KEPT) {
    const dropped = text.splice(0, DROPPED);
    remove(dropped);
    first += dropped.length;
    origin = dropped.at(-1).states;
    if (moment < first) moment = null;
    spans = spans.filter(([from]) => from >= first);
  }
  return characters[id];
}

/** Read ids, a character at a time. */
function* reading(ids, written = false) {
  for (const id of ids) yield feed(id, written);
}

/** What would be written next, at a temperature and with these numbers for chance. */
function* continuation(temperature, draws) {
  let { values, logits } = shown();
  let written = "";
  for (const u of draws) {
    const id = draw(probabilitiesOf(logits, temperature), u);
    ({ values, logits } = step(network, id, values, pins));
    written += characters[id];
    yield;
  }
  return written;
}

/** The surprise of each of a text's ids for a network, in bits. */
function* surprises(network, ids) {
  let states = network.layers.map(zeroState);
  let logits = logitsOf(network.dense, states.at(-1).h);
  const bits = [];
  for (const id of ids) {
    bits.push(surpriseOf(logits, id));
    ({ values: states, logits } = step(network, id, states));
    yield;
  }
  return bits;
}

/** A text's ids for a model; an unknown character is lower-cased, or left out. */
function encode(string, known = characters) {
  const idOf = new Map(known.map((character, id) => [character, id]));
  const ids = [];
  const unknown = new Set();
  for (const character of string) {
    const spellings = [[character], Array.from(character.toLowerCase())];
    const spelling = spellings.find((one) => one.every((letter) => idOf.has(letter)));
    if (spelling) ids.push(...spelling.map((letter) => idOf.get(letter)));
    else unknown.add(character);
  }
  return { ids, unknown: [...unknown] };
}

/** The number of the character after which all is shown: that clicked, or else the latest. */
function shownNumber() {
  return moment ?? first + text.length - 1;
}

/** The step that read it. */
function shown() {
  return moment === null ? { values, logits } : stepAt(moment, pins);
}

/** How much probability moves from some characters to others, from 0 to 1. */
function totalChange(p, q) {
  return p.reduce((sum, one, id) => sum + Math.abs(one - q[id]) / 2, 0);
}

/** A pin at the lowest or the highest value of a unit in the text: what changes more, and by how much. */
function strongestPin({ layer, unit }) {
  const { memory } = network.kind;
  const range = [shown().values, ...text.map(({ states }) => states)].map((s) => s[layer][memory][unit]);
  const predicted = (pins) => probabilitiesOf(stepAt(shownNumber(), pins).logits, temperature());
  const [low, high] = [Math.min(...range), Math.max(...range)].map((value) => {
    const pin = { layer, unit, ...(memory === "c" ? { c: value, h: null } : { h: value }) };
    return { pin, change: totalChange(predicted([]), predicted([pin])) };
  });
  return low.change > high.change ? low : high;
}

/** What a unit shows after a step, from −1 to 1. */
function valueOf(state, unit) {
  const { memory, bounded } = network.kind;
  return bounded ? state[memory][unit] : Math.tanh(state[memory][unit]);
}

/** How much the prediction of a character depended on each of up to 100 before it. */
function* saliencyOf(n) {
  const from = Math.max(first, n - BACK);
  if (n <= from) return [];
  const ids = text.slice(from - first, n - first).map(({ id }) => id);
  return yield* saliency(network, ids, statesBefore(from), text[n - first].id);
}

/** What the units show, a row for each character of a part of the text. */
function* unitRows(part) {
  const rows = [];
  for (const { states } of part) {
    const row = new Float64Array(states.length * states[0].h.length);
    states.forEach((state, k) => row.set(state[network.kind.memory], k * state.h.length));
    rows.push(row);
    yield;
  }
  return rows;
}

/** How the units follow a feature, by its name in the page: their correlations, and chance. */
function* following(name) {
  const part = text.slice(); // which may grow meanwhile
  const rows = yield* unitRows(part);
  let feature, among; // a number after each character; the places of those that are compared
  if (name === "spans") {
    feature = part.map(({ n }) => Number(spans.some(([from, to]) => from <= n && n <= to)));
    among = placesAround(feature);
  } else {
    feature = FEATURES[name](part.map(({ id }) => characters[id]));
    among = Array.from(feature.keys()).slice(-COMPARED);
  }
  const wanted = among.map((t) => feature[t]);
  if (new Set(wanted).size < 2) return null;
  const r = correlations(among.map((t) => rows[t]), wanted);
  return { r, chance: yield* chanceLevel(rows, among, wanted), among };
}

/** The unit that follows one of the features most closely: its place in a row, r, and which. */
function* closest() {
  const rows = yield* unitRows(text);
  let best = { place: 0, r: 0, name: null };
  for (const name of Object.keys(FEATURES)) {
    const feature = FEATURES[name](text.map(({ id }) => characters[id]));
    if (new Set(feature).size < 2) continue;
    const r = correlations(rows, feature);
    const [place] = ranked(r);
    if (Math.abs(r[place]) > Math.abs(best.r)) best = { place, r: r[place], name };
    yield;
  }
  return best;
}
