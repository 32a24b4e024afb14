// The page: what a person sees and does. First what the model has read, then how it is shown, a
// section of the page at a time, then what is done to it.

const element = (id) => document.getElementById(id);
const box = element("text");
const DESCRIPTIONS = JSON.parse(element("descriptions").textContent);
const WEIGHTS = document.querySelectorAll("script.weights");
const KEPT = 5000; // characters of the text; earlier ones are dropped, a tenth at a time
const BACK = 100; // characters that the saliency goes back
const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]; // characters a second
const FRAME = 12; // milliseconds of work between two pictures, so that the page stays quick
const BARS = 12; // characters shown of the distribution, at most
const RANKED = 8; // units shown of a ranking
const COMPARED = 2000; // characters that they are compared over, the latest
const SIGNS = { " ": ["␣", "space"], "\n": ["↵", "line break"], "\t": ["⇥", "tab"] };
// What its units are called: an LSTM's cells are shown; the other kinds have none.
const WORDS = {
  c: {
    title: "The memory cells",
    square: "a memory cell, as tanh(c),",
    name: "Cell",
    unit: "cell",
    value: "tanh(c)",
  },
  h: {
    title: "The units of the hidden state",
    square: "a unit of h, the hidden state,",
    name: "Unit",
    unit: "unit",
    value: "h",
  },
};
const UNBOUNDED = { ...WORDS.h, title: "The units", square: "a unit, as tanh(h),", value: "tanh(h)" };

// What is open, and what the model has read.

let description, network, characters, idOf, words; // of the model that is open
let first = 0; // the number of the first character that is still kept
let text = []; // of { n, id, written, states, element }: a character, and the states after it
let origin; // the states before all of them
let values, logits; // of the latest step, and of the zero state at first
let pins = []; // of { layer, unit, c, h }: units that are held
let chosen = null; // a unit: { layer, unit }
let moment = null; // the number of a character that was clicked
let spans = []; // of [from, to]: numbers of the first and the last character of each
let writing = null; // while it writes: { since, owed, written }
const temperature = () => Number(element("temperature").value);
const other = () => Number(element("other").value);
const speed = () => SPEEDS[Number(element("speed").value)];

/** Clear the text and begin at the zero state. */
function reset() {
  [text, spans, moment, first] = [[], [], null, 0];
  origin = network.layers.map(zeroState);
  rerun();
  box.replaceChildren();
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
  ({ values, logits } = step(network, id, before, pins));
  const states = values.map((v, k) => stateOf(v, network.layers[k]));
  const entry = { n: first + text.length, id, written, states, element: document.createElement("span") };
  entry.element.textContent = characters[id];
  if (characters[id] === "\n") entry.element.classList.add("break");
  if (!written) entry.element.classList.add("prompt");
  colour(entry);
  text.push(entry);
  box.append(entry.element);
}

/** Draw a character and feed it to the network. */
function writeOne(temperature, u = Math.random()) {
  const id = draw(probabilitiesOf(logits, temperature), u);
  feed(id, true);
  if (text.length > KEPT) {
    const dropped = text.splice(0, KEPT / 10);
    for (const { element } of dropped) element.remove();
    first += dropped.length;
    origin = dropped.at(-1).states;
    if (moment < first) moment = null;
    spans = spans.filter(([from]) => from >= first);
  }
  return characters[id];
}

/** What would be written next, at a temperature and with these numbers for chance. */
function continuation(temperature, draws) {
  let { values, logits } = shown();
  return draws.map((u) => {
    const id = draw(probabilitiesOf(logits, temperature), u);
    ({ values, logits } = step(network, id, values, pins));
    return characters[id];
  });
}

/** A text's ids; an unknown character is lower-cased, or left out. */
function encode(string) {
  const ids = [];
  const unknown = new Set();
  for (const character of string) {
    const spellings = [[character], Array.from(character.toLowerCase())];
    const known = spellings.find((spelling) => spelling.every((one) => idOf.has(one)));
    if (known) ids.push(...known.map((one) => idOf.get(one)));
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

/** What a unit shows after a step, from −1 to 1. */
function valueOf(state, unit) {
  const { memory, bounded } = network.kind;
  return bounded ? state[memory][unit] : Math.tanh(state[memory][unit]);
}

/** How much the prediction of a character depended on each of up to 100 before it. */
function saliencyOf(n) {
  const from = Math.max(first, n - BACK);
  if (n <= from) return [];
  const ids = text.slice(from - first, n - first).map(({ id }) => id);
  return saliency(network, ids, statesBefore(from), text[n - first].id);
}

/** How the units follow a feature, by its name in the page: their correlations, and chance. */
function following(name) {
  const { memory } = network.kind;
  const rows = text.map(({ states }) => states.flatMap((state) => Array.from(state[memory])));
  let feature, among; // a number after each character; the places of those that are compared
  if (name === "spans") {
    feature = text.map(({ n }) => Number(spans.some(([from, to]) => from <= n && n <= to)));
    among = placesAround(feature);
  } else {
    feature = FEATURES[name](text.map(({ id }) => characters[id]));
    among = Array.from(feature.keys()).slice(-COMPARED);
  }
  const wanted = among.map((t) => feature[t]);
  if (new Set(wanted).size < 2) return null;
  const r = correlations(among.map((t) => rows[t]), wanted);
  return { r, chance: chanceLevel(rows, among, wanted), among };
}

// How things are written.

/** How a character is shown where it stands alone, and what it is called. */
function nameOf(character) {
  if (character in SIGNS) return SIGNS[character];
  if (/[\p{C}\p{Z}\u{FFFD}]/u.test(character)) {
    const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return [`U+${number}`, `U+${number}`];
  }
  return [/\p{M}/u.test(character) ? `◌${character}` : character, character];
}

/** A colour for a value from −1 to 1. */
function colourOf(value) {
  const name = value < 0 ? "--negative" : "--positive";
  return `rgb(var(${name}) / ${Math.abs(value).toFixed(3)})`;
}

/** A number with a proper minus and always as wide. */
function signed(value, digits = 2) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
}

function percent(p) {
  return `${(100 * p).toFixed(1)} %`;
}

function unitName({ layer, unit }) {
  const name = `${words.name} ${unit}`;
  return network.layers.length === 1 ? name : `${name} of layer ${layer}`;
}

function sameUnit(a, b) {
  return a !== null && b !== null && a.layer === b.layer && a.unit === b.unit;
}

// The text.

/** Colour a character of the text by what the chosen unit showed after it. */
function colour({ states, element }) {
  element.style.backgroundColor = chosen
    ? colourOf(valueOf(states[chosen.layer], chosen.unit))
    : "";
}

/** Mark the character that was clicked and, by bars below them, what it depended on. */
function showMoment() {
  for (const marked of box.querySelectorAll(".moment, .salient")) {
    marked.classList.remove("moment", "salient");
    marked.style.removeProperty("--share");
    marked.removeAttribute("title");
  }
  element("moment").hidden = moment === null;
  if (moment === null) return;
  const { id, element: clicked } = text[moment - first];
  clicked.classList.add("moment");
  const norms = saliencyOf(moment);
  const most = Math.max(...norms);
  norms.forEach((norm, k) => {
    const before = text[moment - first - norms.length + k].element;
    before.classList.add("salient");
    before.style.setProperty("--share", (norm / most).toFixed(3));
    before.title = `saliency ${norm.toFixed(4)}`;
  });
  const before = moment > first ? stepAt(moment - 1, []).logits : null;
  element("moment-said").textContent =
    `After character ${moment + 1}, “${nameOf(characters[id])[1]}”. ` +
    (before
      ? `Its probability was ${percent(probabilitiesOf(before, 1)[id])}; the bars below the text ` +
        `before it show how much that depended on each character (saliency).`
      : "Nothing was read before it.");
}

/** Underline the spans. */
function showSpans() {
  for (const marked of box.querySelectorAll(".span")) marked.classList.remove("span");
  for (const { n, element } of text) {
    if (spans.some(([from, to]) => from <= n && n <= to)) element.classList.add("span");
  }
}

/** The text that is selected in the browser, as numbers of the first and last character. */
function selectedSpan() {
  const selection = getSelection();
  if (selection.isCollapsed || !selection.rangeCount) return null;
  const range = selection.getRangeAt(0);
  if (!box.contains(range.commonAncestorContainer)) return null;
  const inside = text.filter(({ element: { firstChild } }) =>
    [0, firstChild.length].every((at) => range.comparePoint(firstChild, at) === 0),
  );
  return inside.length ? [inside[0].n, inside.at(-1).n] : null;
}

/** Whether the end of the text is in sight: then it stays there, else the reader is elsewhere. */
function atEnd() {
  return box.scrollTop + box.clientHeight > box.scrollHeight - 48;
}

// What may come next.

function showBars({ logits } = shown()) {
  const atBoth = (logits) => [temperature(), other()].map((T) => probabilitiesOf(logits, T));
  const both = atBoth(logits);
  const without = pins.length ? atBoth(stepAt(shownNumber(), []).logits) : null;
  const ranking = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  bars.forEach(({ glyph, columns }, place) => {
    const id = ranking[place];
    const [shown, name] = nameOf(characters[id]);
    glyph.textContent = shown;
    glyph.ariaLabel = name;
    columns.forEach(({ bar, mark, number }, k) => {
      bar.style.width = `${100 * both[k][id]}%`;
      number.textContent = percent(both[k][id]);
      const p = without?.[k][id] ?? 0;
      mark.hidden = p < 0.0005; // not to be told from none
      mark.style.left = `${100 * p}%`;
    });
  });
  element("without").hidden = without === null;
  element("choices").textContent = choices(both[0]).toFixed(1);
  element("other-choices").textContent = choices(both[1]).toFixed(1);
}

/** A row of the bar chart; returns its parts. */
function makeBar() {
  const make = (tag, className) => Object.assign(document.createElement(tag), { className });
  const row = document.createElement("li");
  const glyph = make("span", "glyph");
  glyph.role = "img";
  row.append(glyph);
  const columns = [0, 1].map(() => {
    const [track, bar, mark] = [make("span", "track"), make("div", "bar"), make("i", "mark")];
    const number = make("span", "number");
    track.append(bar, mark);
    row.append(track, number);
    return { bar, mark, number };
  });
  element("bars").append(row);
  return { glyph, columns };
}

/** Write on at both temperatures with the same numbers for chance, beside the text. */
function sampleBoth() {
  const draws = Array.from({ length: 80 }, () => Math.random());
  element("samples").hidden = false;
  [temperature(), other()].forEach((T, k) => {
    element("samples").children[k].textContent = continuation(T, draws).join("");
  });
}

// The units.

function showUnits({ values } = shown()) {
  units.forEach((buttons, layer) => {
    buttons.forEach((button, unit) => {
      button.style.backgroundColor = colourOf(valueOf(values[layer], unit));
    });
  });
  element("chosen").textContent = chosen
    ? `${unitName(chosen)} colours the text; now its ${words.value} is ` +
      `${signed(valueOf(values[chosen.layer], chosen.unit))}.`
    : `No ${words.unit} is chosen.`;
}

/** Colour the text by a unit; by none if it was this one. */
function choose(layer, unit) {
  const same = sameUnit(chosen, { layer, unit });
  if (chosen) units[chosen.layer][chosen.unit].ariaPressed = "false";
  chosen = same ? null : { layer, unit };
  if (chosen) units[layer][unit].ariaPressed = "true";
  element("unit-number").value = chosen ? unit : "";
  element("unit-layer").value = layer;
  text.forEach(colour);
  showUnits();
  showInside();
}

/** Choose the unit whose number is typed. */
function search() {
  const layer = Number(element("unit-layer").value);
  const number = element("unit-number");
  const unit = number.value === "" ? null : Number(number.value);
  const there = unit !== null && units[layer][unit] !== undefined;
  number.setAttribute("aria-invalid", String(unit !== null && !there));
  if (there && !sameUnit(chosen, { layer, unit })) {
    choose(layer, unit);
    units[layer][unit].scrollIntoView({ block: "nearest" });
  }
  if (unit !== null && !there) {
    element("chosen").textContent = `There are ${words.unit}s 0 to ${units[layer].length - 1}.`;
  }
}

/** Arrow keys go from unit to unit; the tab key goes past them to the next layer. */
function moveFocus(event, buttons) {
  const columns = buttons.filter((button) => button.offsetTop === buttons[0].offsetTop).length;
  const from = buttons.indexOf(event.target);
  const to = {
    ArrowLeft: from - 1,
    ArrowRight: from + 1,
    ArrowUp: from - columns,
    ArrowDown: from + columns,
    Home: 0,
    End: buttons.length - 1,
  }[event.key];
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  buttons[to].tabIndex = 0;
  buttons[to].focus();
}

/** A grid of squares for a layer; returns them. */
function makeUnits({ H }, layer) {
  const grid = document.createElement("div");
  grid.className = "units";
  grid.role = "group";
  grid.ariaLabel = `The ${H} ${words.unit}s of layer ${layer}; arrow keys go from one to another`;
  const buttons = Array.from({ length: H }, (_, unit) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = unit;
    button.tabIndex = unit === 0 ? 0 : -1;
    button.ariaLabel = unitName({ layer, unit });
    button.ariaPressed = "false";
    button.addEventListener("click", () => choose(layer, unit));
    return button;
  });
  grid.addEventListener("keydown", (event) => moveFocus(event, buttons));
  grid.append(...buttons);
  if (network.layers.length > 1) {
    const title = document.createElement("p");
    title.textContent = `Layer ${layer}`;
    element("grids").append(title);
  }
  element("grids").append(grid);
  return buttons;
}

// Inside the unit.

// The equations of a step with the numbers of one unit: n has them, `n.f` and so on, as text.
const EQUATIONS = {
  lstm: (n) => [
    `c = f c₋ + i g = ${n.f} × ${n["c₋"]} + ${n.i} × ${n.g} = ${n.c}`,
    `h = o tanh(c) = ${n.o} × ${n["tanh(c)"]} = ${n.h}`,
  ],
  gru: (n) => [
    `r = ${n.r}, the reset gate`,
    `z = ${n.z}, the update gate`,
    `n = ${n.n}, the candidate`,
    `h = (1 − z) n + z h₋ = (1 − ${n.z}) × ${n.n} + ${n.z} × ${n["h₋"]} = ${n.h}`,
  ],
  rnn: (n) => [`h = tanh(x Wx + h₋ Wh + b) = tanh(${n.z}) = ${n.h}`],
  conv: (n) => [
    `v = ${n.v}, the value`,
    `g = ${n.g}, the gate`,
    n.x === undefined
      ? `h = v g = ${n.v} × ${n.g} = ${n.h}`
      : `h = v g + x = ${n.v} × ${n.g} + ${n.x} = ${n.h}`,
  ],
};
const NO_DIAGRAM = {
  gru: "No diagram and no c to hold: those are of LSTM cells. A GRU has no cell beside h, and two gates.",
  rnn: "No diagram and no c to hold: those are of LSTM cells. A plain RNN has no cell, and no gates.",
  conv: "No diagram and no c to hold: those are of LSTM cells. A convolution has no memory but its inputs.",
};
const SIGMOIDS = { lstm: "ifo", gru: "rz", rnn: "", conv: "g" }; // from 0 to 1: no sign

/** The numbers of the chosen unit in the step that is shown, without the pins. */
function numbersOf({ layer, unit }) {
  const n = shownNumber();
  if (n < first) return null;
  const all = stepAt(n, []).values;
  const before = statesBefore(n)[layer];
  const found = {};
  for (const [name, array] of Object.entries(all[layer])) {
    if (name !== "last") found[name] = array[unit];
  }
  if (before.c) found["c₋"] = before.c[unit];
  if (!before.last) found["h₋"] = before.h[unit];
  if (found.c !== undefined) {
    found["f c₋"] = found.f * found["c₋"];
    found["i g"] = found.i * found.g;
    found["tanh(c)"] = Math.tanh(found.c);
  }
  if (before.last && layer > 0) found.x = all[layer - 1].h[unit];
  return { found, x: characters[text[n - first].id] };
}

function showInside() {
  const kind = description.layer;
  const numbers = chosen && numbersOf(chosen);
  const diagram = element("diagram");
  const written = {};
  if (numbers) {
    for (const [name, value] of Object.entries(numbers.found)) {
      written[name] = SIGMOIDS[kind].includes(name) ? value.toFixed(3) : signed(value, 3);
    }
  }
  for (const place of diagram.querySelectorAll("[data-value]")) {
    place.textContent = written[place.dataset.value] ?? "";
  }
  for (const gate of diagram.querySelectorAll("[data-fill]")) {
    const value = numbers?.found[gate.dataset.fill];
    gate.style.fill = value === undefined ? "" : colourOf(value);
  }
  if (numbers) diagram.querySelector('[data-value="x"]').textContent = nameOf(numbers.x)[1];
  const lines = numbers ? EQUATIONS[kind](written) : [];
  element("equations").replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })),
  );
  const spoken = Object.entries(written).map(([name, value]) => `${name} ${value}`);
  diagram.ariaLabel = numbers ? `${unitName(chosen)}: ${spoken.join(", ")}` : `Inside a ${words.unit}`;
  element("inside-hint").textContent = chosen
    ? `${unitName(chosen)} at the ${moment === null ? "latest character" : "character clicked"}` +
      (pins.length ? ", as it would be without pins at this one" : "") +
      (kind === "lstm" ? ": its own numbers. The gates see the character x and h₋ of all cells." : ".")
    : `Choose a ${words.unit} by its square or its number, and its numbers stand here.`;
  showPin();
}

// Pinning.

function pinOf(unit) {
  return pins.find((pin) => sameUnit(pin, unit)) ?? null;
}

function showPin() {
  const held = chosen && pinOf(chosen);
  const state = chosen && shown().values[chosen.layer];
  for (const name of ["c", "h"]) {
    const slider = element(`pin-${name}`);
    slider.disabled = !chosen;
    const value = held?.[name] ?? state?.[name]?.[chosen.unit];
    if (value !== undefined) slider.value = value;
    element(`pin-${name}-shown`).textContent = value === undefined ? "" : signed(value, 3);
  }
  element("pin-h").disabled ||= element("follow").checked;
  element("follow").disabled = element("pin").disabled = !chosen;
  element("pin").ariaPressed = String(Boolean(held));
  element("pin").textContent = held ? "Unpin" : "Pin";
}

/** Hold these units from now on, and no others. */
function setPins(wanted) {
  for (const { layer, unit } of pins) units[layer][unit].classList.remove("pinned");
  pins = wanted;
  for (const { layer, unit } of pins) units[layer][unit].classList.add("pinned");
  element("unpin").hidden = pins.length === 0;
  element("pinned").textContent = pins.length ? `Pinned: ${pins.map(unitName).join(", ")}.` : "";
  rerun();
  show(false);
}

/** Hold a unit at values of c and h. */
function pin({ layer, unit }, { c, h }) {
  setPins([...pins.filter((one) => !sameUnit(one, { layer, unit })), { layer, unit, c, h }]);
}

function unpin(unit) {
  setPins(pins.filter((one) => !sameUnit(one, unit)));
}

/** Pin the chosen unit where it is, or where a slider has put it. */
function pinAt(moved = {}) {
  const { c, h } = shown().values[chosen.layer];
  const held = { c: c?.[chosen.unit], h: h[chosen.unit], ...moved };
  pin(chosen, c && element("follow").checked ? { ...held, h: null } : held);
}

// Which units follow a feature.

function showRanking() {
  const name = element("feature").value;
  element("forget").disabled = spans.length === 0;
  element("ranking").replaceChildren();
  const said = element("ranking-said");
  if (name === "spans" && !spans.length) {
    said.textContent = "No span is selected: drag over a part of the text.";
    return;
  }
  const found = following(name);
  if (!found) {
    said.textContent = "The text has nothing of the kind, or nothing else.";
    return;
  }
  const { r, chance, among } = found;
  const H = network.layers[0].H;
  const better = r.filter((one) => Math.abs(one) > chance).length;
  said.textContent =
    `Over ${among.length} characters. Chance level ${chance.toFixed(3)}: moved along the text, the ` +
    `feature finds a ${words.unit} with a stronger r 5 times in 100. Above it: ${better} of ${r.length}.`;
  element("ranking").append(
    ...ranked(r).slice(0, RANKED).map((k) => {
      const unit = { layer: Math.floor(k / H), unit: k % H };
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = unitName(unit);
      button.addEventListener("click", () => sameUnit(chosen, unit) || choose(unit.layer, unit.unit));
      const track = Object.assign(document.createElement("span"), { className: "track" });
      const bar = Object.assign(document.createElement("div"), { className: "bar" });
      bar.style.backgroundColor = colourOf(Math.sign(r[k]));
      const mark = Object.assign(document.createElement("i"), { className: "mark" });
      bar.style.width = `${100 * Math.abs(r[k])}%`;
      mark.style.left = `${100 * chance}%`;
      track.append(bar, mark);
      const number = Object.assign(document.createElement("span"), { className: "number" });
      number.textContent = `r = ${signed(r[k], 3)}`;
      row.append(button, track, number);
      return row;
    }),
  );
}

// All of it.

function show(follow = true) {
  if (follow) box.scrollTop = box.scrollHeight;
  const now = shown();
  showBars(now);
  showUnits(now);
  showInside();
  if (!writing) showRanking();
}

function showSettings() {
  element("temperature-shown").textContent = temperature().toFixed(2);
  element("other-shown").textContent = other().toFixed(2);
  element("speed-shown").textContent = `${speed()} a second`;
  element("speed").ariaValueText = `${speed()} characters a second`;
}

// What is done.

/** Open a model: everything of another is forgotten. */
function openModel() {
  stop();
  const place = Math.max(0, element("model").selectedIndex);
  description = DESCRIPTIONS[place];
  network = networkOf(description, WEIGHTS[place].textContent);
  ({ characters } = description);
  idOf = new Map(characters.map((character, id) => [character, id]));
  const { kind, layers } = network;
  words = kind.memory === "c" ? WORDS.c : kind.bounded ? WORDS.h : UNBOUNDED;
  [pins, chosen] = [[], null];
  element("unpin").hidden = true;
  element("pinned").textContent = "";
  element("grids").replaceChildren();
  units = layers.map(makeUnits);
  element("bars").replaceChildren();
  bars = Array.from({ length: Math.min(BARS, characters.length) }, makeBar);
  element("shown").textContent = bars.length;
  element("known").textContent = characters.length;
  element("size").textContent =
    `${characters.length} characters, ${kind.name} of ${layers.length} × ${layers[0].H} ` +
    `${words.unit}s, ${network.weights.toLocaleString("en")} weights; ` +
    `made by npchar ${description.npchar}.`;
  for (const word of document.querySelectorAll(".unit-word")) word.textContent = words.unit;
  element("about").textContent = description.about;
  element("units-title").textContent = words.title;
  element("square").textContent = words.square;
  element("unit-number").max = layers[0].H - 1;
  element("unit-number").value = "";
  element("of-layer").hidden = layers.length === 1;
  element("unit-layer").replaceChildren(...layers.map((_, k) => new Option(k, k)));
  element("diagram").style.display = kind.memory === "c" ? "" : "none";
  element("no-diagram").hidden = kind.memory === "c";
  element("no-diagram").textContent = NO_DIAGRAM[description.layer] ?? "";
  element("pin-c-setting").hidden = element("following-c").hidden = kind.memory !== "c";
  element("follow").checked = false;
  const widest = kind.bounded || kind.memory === "c" ? 1 : 4;
  Object.assign(element("pin-h"), { min: -widest, max: widest });
  element("pin-hint").textContent =
    kind.memory === "c"
      ? "A pinned cell has these c and h after the character shown, and after all that are written then."
      : "A pinned unit has this h after the character shown, and after all that are written then.";
  element("samples").hidden = true;
  element("prompt").value = description.prompt;
  reset();
  begin();
}

/** Begin with the prompt; only what is new is read where it has just grown. */
function begin() {
  stop();
  const { ids, unknown } = encode(element("prompt").value);
  const grown = first === 0 && text.every(({ id, written }, n) => !written && id === ids[n]);
  if (!grown) reset();
  for (const id of ids.slice(text.length)) feed(id, false);
  element("note").textContent = unknown.length
    ? `Left out, as it is not in the vocabulary: ${unknown.map((c) => nameOf(c)[1]).join(" ")}`
    : "";
  toEnd();
}

/** Whether there is something to go on from; says so if not. */
function ready() {
  if (text.length) return true;
  element("status").textContent = "Type a prompt first: at least one character of the vocabulary.";
  element("prompt").focus();
  return false;
}

function start() {
  if (!ready()) return;
  toEnd();
  writing = { since: performance.now(), owed: 1, written: 0 };
  element("write").textContent = "Stop";
  element("status").textContent = "Writing.";
  requestAnimationFrame(frame);
}

function stop() {
  if (!writing) return;
  element("status").textContent = `Stopped after ${writing.written} characters.`;
  element("write").textContent = "Write";
  writing = null;
  showRanking();
}

/** Write what is due since the picture before, but no longer than FRAME. */
function frame() {
  if (!writing) return;
  const now = performance.now();
  writing.owed += (Math.min(now - writing.since, 200) / 1000) * speed();
  writing.since = now;
  const before = writing.written;
  const follow = atEnd();
  while (writing.owed >= 1) {
    writeOne(temperature());
    writing.written += 1;
    writing.owed = performance.now() - now < FRAME ? writing.owed - 1 : 0;
  }
  if (writing.written > before) show(follow);
  requestAnimationFrame(frame);
}

function oneCharacter() {
  stop();
  if (!ready()) return;
  moment = null;
  writeOne(temperature());
  element("status").textContent = "";
  showMoment();
  show();
}

function clear() {
  stop();
  reset();
  element("status").textContent = "";
  begin();
}

/** Show the moment after a character of the text. */
function goTo(n) {
  moment = n;
  text[n - first].element.scrollIntoView({ block: "nearest" });
  showMoment();
  show(false);
}

/** Show the latest moment. */
function toEnd() {
  moment = null;
  showMoment();
  showSpans();
  show();
}

/** Drop what follows the moment that is shown, and go on from it. */
function goOnFromHere() {
  stop();
  for (const { element } of text.splice(moment + 1 - first)) element.remove();
  spans = spans.filter(([, to]) => to <= moment);
  moment = null;
  rerun();
  toEnd();
  box.focus();
}

// Selecting in the text. A new span takes the place of the others, or is added to them.

let kept = []; // the spans that stay when this one grows or shrinks
let anchor = null; // where a span that is selected by keys began

function beginSpan() {
  kept = element("add").checked ? spans : [];
}

function select(span) {
  spans = [...kept, span];
  element("feature").value = "spans";
  showSpans();
  showRanking();
}

function clickText(event) {
  if (selectedSpan()) return; // the end of a drag
  const entry = text.find(({ element }) => element === event.target);
  if (entry) goTo(entry.n);
}

/** Arrow keys go from character to character; with Shift they select a span. */
function textKeys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !text.length) return;
  const last = first + text.length - 1;
  const from = moment ?? last;
  const to = { ArrowLeft: from - 1, ArrowRight: from + 1, ArrowUp: lineAway(from, -1), ArrowDown: lineAway(from, 1),
    Home: first, End: last }[event.key];
  if (event.key === "Escape") {
    forgetSpans();
    toEnd();
  }
  if (to === undefined) return;
  event.preventDefault();
  const n = Math.min(last, Math.max(first, moment === null && event.key === "ArrowLeft" ? last : to));
  if (event.shiftKey) {
    if (anchor === null) beginSpan();
    anchor ??= from;
    select([Math.min(anchor, n), Math.max(anchor, n)]);
  } else anchor = null;
  goTo(n);
}

/** The character above another, or below it, in the text as it is laid out. */
function lineAway(n, direction) {
  const place = (k) => text[k - first].element;
  const distance = (k) => Math.abs(place(k).offsetLeft - place(n).offsetLeft);
  let k = n;
  while (text[k - first] && place(k).offsetTop === place(n).offsetTop) k += direction;
  if (!text[k - first]) return n;
  let best = k;
  const { offsetTop } = place(k);
  for (; text[k - first] && place(k).offsetTop === offsetTop; k += direction) {
    if (distance(k) < distance(best)) best = k;
  }
  return best;
}

function forgetSpans() {
  [spans, kept, anchor] = [[], [], null];
  getSelection().removeAllRanges();
  showSpans();
  showRanking();
}

// The wiring.

let units, bars;
const on = (id, event, action) => element(id).addEventListener(event, action);
element("speed").max = SPEEDS.length - 1;
element("models").hidden = DESCRIPTIONS.length === 1;
element("model").append(...DESCRIPTIONS.map(({ name }) => new Option(name)));
on("model", "change", openModel);
on("prompt", "input", begin);
on("write", "click", () => (writing ? stop() : start()));
on("one", "click", oneCharacter);
on("clear", "click", clear);
on("speed", "input", showSettings);
for (const id of ["temperature", "other"]) {
  on(id, "input", () => {
    showSettings();
    showBars();
  });
}
on("both", "click", sampleBoth);
on("text", "pointerdown", beginSpan);
on("text", "click", clickText);
on("text", "keydown", textKeys);
on("from-here", "click", goOnFromHere);
on("to-end", "click", toEnd);
on("unit-number", "input", search);
on("unit-layer", "change", search);
on("pin", "click", () => (pinOf(chosen) ? unpin(chosen) : pinAt()));
on("unpin", "click", () => setPins([]));
for (const name of ["c", "h"]) {
  on(`pin-${name}`, "input", ({ target }) => pinAt({ [name]: Number(target.value) }));
}
on("follow", "change", () => pinAt());
on("feature", "change", showRanking);
on("forget", "click", forgetSpans);
document.addEventListener("selectionchange", () => {
  const span = selectedSpan();
  if (span) select(span);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  element("write").click();
});
openModel();
showSettings();

// For programs, and for the console of the browser:
//   npchar.characters               the characters, in the order of their ids
//   npchar.reset()                  clear the text, back to the zero state
//   npchar.read("the ")             read on; returns what was read: see `encode`
//   npchar.probabilities(0.5)       of each character to come next, at a temperature
//   npchar.write(20, 0.5)           write 20 characters and return them
//   npchar.write(2, 0.5, [.1, .9])  the same with these numbers for chance, one each
//   npchar.states()                 h of each layer, and c of an LSTM's
//   npchar.saliency(30)             for character 30 of the text (from 0): see saliencyOf
//   npchar.correlations("line")     of every unit with a feature, and the chance level
//   npchar.pin(0, 7, { c: 1, h: 1 })    hold unit 7 of layer 0; with an h of null, h follows c
//   npchar.unpin()                  let all go
window.npchar = {
  get characters() {
    return characters;
  },
  reset() {
    stop();
    reset();
    toEnd();
  },
  read(string) {
    const { ids } = encode(string);
    for (const id of ids) feed(id, false);
    show();
    return ids.map((id) => characters[id]).join("");
  },
  probabilities(temperature = 1) {
    return Array.from(probabilitiesOf(shown().logits, temperature));
  },
  write(n, temperature = 1, draws = null) {
    if (!text.length) throw new Error("nothing has been read to go on from; use npchar.read");
    if (draws && draws.length < n) throw new Error(`expected ${n} draws, got ${draws.length}`);
    let written = "";
    for (let k = 0; k < n; k++) written += writeOne(temperature, draws ? draws[k] : Math.random());
    show();
    return written;
  },
  states() {
    const found = ({ h, c }) => (c ? { h: Array.from(h), c: Array.from(c) } : { h: Array.from(h) });
    return shown().values.map(found);
  },
  saliency: (n) => Array.from(saliencyOf(n)),
  correlations(name) {
    const { r, chance } = following(name);
    return { r: Array.from(r), chance };
  },
  pin: (layer, unit, at) => pin({ layer, unit }, at),
  unpin: () => setPins([]),
};
