// The display of the state, section by section of the page, with the event handlers that concern
// only one section.

const BARS = 8; // characters shown of the distribution, at most
const RANKED = 8; // units shown of a ranking
const MOST_BITS = 8; // the surprise with the strongest colour
const SIGNS = { " ": ["␣", "space"], "\n": ["↵", "line break"], "\t": ["⇥", "tab"] };
// The names of units: cells for LSTMs, hidden units for other kinds.
const CELLS = { name: "Cell", unit: "cell", title: "The memory cells" };
const HIDDEN = { name: "Unit", unit: "unit", title: "The hidden units" };
const WORDS = {
  c: { ...CELLS, value: "tanh(c)", square: "tanh(c) of one memory cell" },
  h: { ...HIDDEN, value: "h", square: "h of one hidden unit" },
  unbounded: { ...HIDDEN, value: "tanh(h)", square: "tanh(h) of one hidden unit" },
};

// Formatting.

/** How a character is shown where it stands alone, and what it is called. */
function nameOf(character) {
  if (character in SIGNS) return SIGNS[character];
  if (/[\p{C}\p{Z}\u{FFFD}]/u.test(character)) {
    const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return [`U+${number}`, `U+${number}`];
  }
  return [/\p{M}/u.test(character) ? `◌${character}` : character, character];
}

/** A sentence about characters that are not in the vocabulary, if there are any. */
function leftOut(unknown) {
  if (!unknown.length) return "";
  const names = unknown.slice(0, 20).map((character) => nameOf(character)[1]);
  if (unknown.length > 20) names.push("…");
  return `The text leaves out characters that are not in the vocabulary: ${names.join(" ")}`;
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

function make(tag, className) {
  return Object.assign(document.createElement(tag), { className });
}

function makeButton(textContent, action) {
  const button = Object.assign(make("button", ""), { type: "button", textContent });
  button.addEventListener("click", action);
  return button;
}

/** A bar with a mark on it, and its number. */
function makeTrack() {
  const [track, bar, mark] = [make("span", "track"), make("div", "bar"), make("i", "mark")];
  track.append(bar, mark);
  return { track, bar, mark, number: make("span", "number") };
}

// The text.

/** Colour a character by what the chosen unit showed after it, or by its surprise. */
function colour({ states, bits, element }) {
  let colour = "";
  if (colouring === "surprise") colour = surpriseColour(bits);
  if (colouring === "unit" && chosen) colour = colourOf(valueOf(states[chosen.layer], chosen.unit));
  element.style.backgroundColor = colour;
}

function setColouring(name) {
  colouring = element("colouring").value = name;
  element("surprise-scale").hidden = name !== "surprise";
  text.forEach(colour);
  show();
}

function surpriseColour(bits) {
  return `rgb(var(--surprise) / ${Math.min(1, bits / MOST_BITS).toFixed(3)})`;
}

/** The mean of numbers of bits. */
function meanBits(bits) {
  return (bits.reduce((sum, one) => sum + one, 0) / (bits.length || 1)).toFixed(2);
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
  const { id, bits, element: clicked } = text[moment - first];
  clicked.classList.add("moment");
  const [n, current] = [moment, unchanged()];
  inSlices(saliencyOf(n), () => current() && moment === n, showSaliency);
  element("moment-said").textContent =
    `“${nameOf(characters[id])[1]}” is character ${n + 1}. Its probability was ` +
    `${percent(2 ** -bits)}, a surprise of ${bits.toFixed(1)} bits. ` +
    (n > first ? "The bars under the characters show how much this prediction depended on them." : "");
}

/** Mark what the character clicked depended on. */
function showSaliency(norms) {
  const most = Math.max(...norms);
  norms.forEach((norm, k) => {
    const before = text[moment - first - norms.length + k]?.element;
    if (!before) return; // dropped meanwhile
    before.classList.add("salient");
    before.style.setProperty("--share", (norm / most).toFixed(3));
    before.title = `saliency ${norm.toFixed(4)}`;
  });
}

/** Underline the spans. */
function showSpans() {
  for (const marked of box.querySelectorAll(".span")) marked.classList.remove("span");
  for (const { n, element } of text) {
    if (spans.some(([from, to]) => from <= n && n <= to)) element.classList.add("span");
  }
}

/** Whether the end of the text is in sight: then it stays there, else the reader is elsewhere. */
function atEnd() {
  const { bottom } = text.at(-1).element.getBoundingClientRect();
  return bottom < Math.min(box.getBoundingClientRect().bottom, innerHeight) + 24;
}

/** Scroll the end of the text into sight. */
function showEnd() {
  text.at(-1)?.element.scrollIntoView({ block: "nearest" });
}

// The distribution of the next character.

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
  if (without) {
    const [before, after] = [without[0], both[0]];
    const changes = after.map((p, id) => Math.abs(p - before[id]));
    const id = changes.indexOf(Math.max(...changes));
    element("change").textContent = percent(totalChange(before, after));
    element("most-changed").textContent =
      `“${nameOf(characters[id])[1]}”: from ${percent(before[id])} to ${percent(after[id])}`;
  }
  element("choices").textContent = choices(both[0]).toFixed(1);
  element("other-choices").textContent = choices(both[1]).toFixed(1);
}

/** A row of the bar chart; returns its parts. */
function makeBar() {
  const [row, glyph] = [make("li", ""), make("span", "glyph")];
  glyph.role = "img";
  const columns = [makeTrack(), makeTrack()];
  row.append(glyph, ...columns.flatMap(({ track, number }) => [track, number]));
  element("bars").append(row);
  return { glyph, columns };
}

/** Write on at both temperatures with the same numbers for chance, beside the text. */
function sampleBoth() {
  const draws = Array.from({ length: 80 }, () => Math.random());
  element("samples").hidden = false;
  [temperature(), other()].forEach((T, k) => {
    const show = (written) => (element("samples").children[k].textContent = written);
    inSlices(continuation(T, draws), unchanged(), show);
  });
}

// The units.

function showUnits({ values } = shown()) {
  units.forEach((buttons, layer) => {
    buttons.forEach((button, unit) => {
      button.style.backgroundColor = colourOf(valueOf(values[layer], unit));
    });
  });
  const value = chosen && signed(valueOf(values[chosen.layer], chosen.unit));
  element("chosen").textContent = chosen
    ? `${unitName(chosen)} has ${words.value} = ${value} here.`
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
  setColouring(chosen ? "unit" : colouring);
}

/** Choose the unit that follows a feature of the example best. */
function chooseClosest({ place, r, name }) {
  const { H } = network.layers[0];
  const unit = { layer: Math.floor(place / H), unit: place % H };
  if (!sameUnit(chosen, unit)) choose(unit.layer, unit.unit);
  if (name === null) return;
  element("feature").value = name;
  const feature = element("feature").selectedOptions[0].textContent;
  element("example").textContent =
    `${unitName(chosen)} follows “${feature}” more closely than any other ${words.unit}: r = ${signed(r)}.`;
}

/** Choose the unit whose number is typed. */
function search() {
  const layer = Number(element("unit-layer").value);
  const number = element("unit-number");
  const unit = number.value === "" ? null : Number(number.value);
  const there = unit !== null && units[layer][unit] !== undefined;
  number.setAttribute("aria-invalid", String(unit !== null && !there));
  if (there && !sameUnit(chosen, { layer, unit })) choose(layer, unit);
  if (unit !== null && !there) {
    element("chosen").textContent = `The ${words.unit}s have the numbers 0 to ${units[layer].length - 1}.`;
  }
}

/** Arrow keys go from unit to unit; the tab key goes past them to the next layer. */
function moveFocus(event, buttons) {
  const columns = buttons.filter((button) => button.offsetTop === buttons[0].offsetTop).length;
  const from = buttons.indexOf(event.target);
  const ways = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const ends = { Home: 0, End: buttons.length - 1 };
  const to = ends[event.key] ?? from + ways[event.key];
  if (!buttons[to]) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  buttons[to].tabIndex = 0;
  buttons[to].focus();
}

/** A grid of squares for a layer; returns them. */
function makeUnits({ H }, layer) {
  const grid = Object.assign(make("div", "units"), { role: "group" });
  grid.ariaLabel = `The ${H} ${words.unit}s of layer ${layer}. The arrow keys move between them.`;
  const buttons = Array.from({ length: H }, (_, unit) => {
    const button = makeButton(unit, () => choose(layer, unit));
    button.tabIndex = unit === 0 ? 0 : -1;
    button.ariaLabel = unitName({ layer, unit });
    button.ariaPressed = "false";
    return button;
  });
  grid.addEventListener("keydown", (event) => moveFocus(event, buttons));
  grid.append(...buttons);
  if (network.layers.length > 1) {
    element("grids").append(Object.assign(make("p", ""), { textContent: `Layer ${layer}` }));
  }
  element("grids").append(grid);
  return buttons;
}

// The values inside a unit.

// The equations of a step with the numbers of one unit. `n.f` and so on are these numbers as text.
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
  const x = layer === 0 ? nameOf(characters[text[n - first].id])[1] : `h of layer ${layer - 1}`;
  return { found, x };
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
  if (numbers) diagram.querySelector('[data-value="x"]').textContent = numbers.x;
  const lines = numbers ? EQUATIONS[kind](written) : [];
  element("equations").replaceChildren(
    ...lines.map((textContent) => Object.assign(make("li", ""), { textContent })),
  );
  const spoken = Object.entries(written).map(([name, value]) => `${name} ${value}`);
  diagram.ariaLabel = numbers
    ? `${unitName(chosen)}: ${spoken.join(", ")}`
    : `Inside a ${words.unit}`;
  element("inside-hint").textContent = chosen
    ? `The values of ${unitName(chosen).toLowerCase()} at the ` +
      (moment === null ? "latest character" : "character that you clicked") +
      (pins.length ? ", without the pins." : ".") +
      (kind === "lstm" ? " The gates read all of x and all of h₋." : "")
    : `Click a square, or type a number above the text, to see the values of a ${words.unit}.`;
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
  if (held) element("follow").checked = held.h === null;
  element("pin-h").disabled ||= element("follow").checked;
  for (const id of ["follow", "pin", "pin-here"]) element(id).disabled = !chosen;
  element("pin").ariaPressed = String(Boolean(held));
  element("pin").textContent = held ? "Unpin" : "Pin";
}

/** Hold these units from now on, and no others. */
function setPins(wanted) {
  for (const { layer, unit } of pins) units[layer][unit].classList.remove("pinned");
  pins = wanted;
  for (const { layer, unit } of pins) units[layer][unit].classList.add("pinned");
  element("pinned").hidden = pins.length === 0;
  element("pinned-units").textContent = pins.map(unitName).join(", ");
  rerun();
  show();
}

/** Hold a unit at values of c and h, or nowhere. */
function pin({ layer, unit }, at) {
  const others = pins.filter((one) => !sameUnit(one, { layer, unit }));
  setPins(at ? [...others, { layer, unit, c: at.c, h: at.h }] : others);
}

/** Pin the chosen unit where it is, or where a slider has put it. */
function pinAt(moved = {}) {
  const { c, h } = shown().values[chosen.layer];
  const held = { c: c?.[chosen.unit], h: h[chosen.unit], ...moved };
  pin(chosen, c && element("follow").checked ? { ...held, h: null } : held);
}

// The ranking of units by their correlation with a feature.

let rankings = 0; // begun: only the latest is shown

function showRanking() {
  const name = element("feature").value;
  const n = (rankings += 1);
  const current = unchanged();
  element("forget").disabled = spans.length === 0;
  element("ranking").replaceChildren();
  if (name === "spans" && spans.length < ENOUGH) {
    element("ranking-said").textContent =
      `Select ${ENOUGH} or more similar spans in the text (${spans.length} so far). ` +
      `With fewer spans, many ${words.unit}s match by chance.`;
    return;
  }
  inSlices(following(name), () => current() && n === rankings, showRanked);
}

function showRanked(found) {
  const said = element("ranking-said");
  if (!found) {
    said.textContent = "The feature has the same value at all characters of the text.";
    return;
  }
  const { r, chance, among } = found;
  const H = network.layers[0].H;
  const better = r.filter((one) => Math.abs(one) > chance).length;
  said.textContent =
    `${better} of ${r.length} ${words.unit}s exceed the chance level of ${chance.toFixed(3)} over ` +
    `${among.length} characters. A feature that is shifted along the text finds a ${words.unit} ` +
    "above this level in 5 of 100 cases.";
  for (const k of ranked(r).slice(0, RANKED)) {
    const unit = { layer: Math.floor(k / H), unit: k % H };
    const toUnit = () => sameUnit(chosen, unit) || choose(unit.layer, unit.unit);
    const { track, bar, mark, number } = makeTrack();
    bar.style.width = `${100 * Math.abs(r[k])}%`;
    bar.style.backgroundColor = colourOf(Math.sign(r[k]));
    mark.style.left = `${100 * chance}%`;
    number.textContent = `r = ${signed(r[k], 3)}`;
    const row = make("li", "");
    row.append(makeButton(unitName(unit), toUnit), track, number);
    element("ranking").append(row);
  }
}

// The whole page.

/** What changes with the character that is shown. */
function show() {
  const now = shown();
  if (colouring === "surprise") element("mean").textContent = meanBits(text.map(({ bits }) => bits));
  showBars(now);
  showUnits(now);
  showInside();
}

/** And what changes with the text; a ranking, which takes longest, not while it is written. */
function showText(follow = true) {
  if (follow) box.scrollTop = box.scrollHeight;
  show();
  if (!writing) showRanking();
}

function showSettings() {
  element("temperature-shown").textContent = temperature().toFixed(2);
  element("other-shown").textContent = other().toFixed(2);
  element("speed-shown").textContent = `${speed()} a second`;
  element("speed").ariaValueText = `${speed()} characters a second`;
}
