// Model files (npchar/files.py), text files, and links to the state of the page.

const decode = (bytes) => new TextDecoder().decode(bytes);
// The array of an .npy file; for float16 its bits, for `fromHalf`.
const TYPES = { "|u1": Uint8Array, "<f2": Uint16Array, "<f4": Float32Array, "<f8": Float64Array };

/** The members of a zip file without compression, by name: an ArrayBuffer of each. */
function membersOf(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22; // where the record at the end begins, if there is no comment
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("it is not an .npz file");
  const members = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint16(at + 10, true) !== 0) throw new Error("it is compressed");
    const size = view.getUint32(at + 20, true);
    const [nameLength, extra, comment] = [28, 30, 32].map((k) => view.getUint16(at + k, true));
    const header = view.getUint32(at + 42, true);
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const name = decode(new Uint8Array(buffer, at + 46, nameLength));
    members[name] = buffer.slice(start, start + size);
    at += 46 + nameLength + extra + comment;
  }
  return members;
}

/** The numbers of an .npy file, in C order. */
function arrayOf(buffer) {
  if (!buffer) throw new Error("an array is missing");
  const view = new DataView(buffer);
  const start = view.getUint8(6) === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  const header = decode(new Uint8Array(buffer, 0, start));
  const type = /'descr': '(.*?)'/.exec(header)?.[1];
  if (!TYPES[type] || /'fortran_order': True/.test(header)) throw new Error(`an array has the type ${type}`);
  const numbers = new TYPES[type](buffer.slice(start));
  return type === "<f2" ? fromHalf(numbers) : numbers;
}

/** A model from the bytes of its file. */
function modelOf(buffer, name) {
  const members = membersOf(buffer);
  const { npchar, model } = JSON.parse(decode(arrayOf(members["configuration.npy"])));
  if (model.characters === undefined) throw new Error("the page needs a model of characters");
  const { hidden_size, num_layers, layer = "lstm", stand_in = null } = model;
  if (!KINDS[layer]) throw new Error(`the page cannot run ${layer} layers`);
  const characters = Array.from(model.characters);
  if (!(num_layers < Object.keys(members).length)) throw new Error("an array is missing");
  const names = Array.from({ length: num_layers }, (_, k) =>
    KINDS[layer].arrays.map((array) => `${layer}${k}.${array}`),
  );
  const arrays = [...names.flat(), "dense.W", "dense.b"].map((array) => arrayOf(members[`${array}.npy`]));
  if (stand_in !== null) arrays.at(-1)[characters.indexOf(stand_in)] = -30000; // never generated
  const weights = Float32Array.from(arrays.flatMap((array) => Array.from(array)));
  if (!weights.every(Number.isFinite)) throw new Error("a weight is not a finite number");
  const prompt = characters.find((character) => /\p{L}/u.test(character)) ?? characters[0];
  const description = { npchar, name, about: "", characters, layer, hidden_size, num_layers, prompt };
  const network = networkOf(description, weights);
  if (network.used !== weights.length) throw new Error("an array has an unexpected size");
  return { description, weights: () => weights, network };
}

/** Add a model to the lists; the second list of the comparison shows the newest. */
function addOption({ name }) {
  const lists = document.querySelectorAll("#model, .compared select");
  for (const list of lists) list.append(new Option(name));
  lists[lists.length - 1].selectedIndex = lists[0].length - 1;
}

/** Open a file of a person: a model, or a text to read. */
async function openFile(file) {
  if (!file) return;
  const said = element("said");
  said.textContent = "";
  try {
    if (file.name.toLowerCase().endsWith(".npz")) {
      models.push(modelOf(await file.arrayBuffer(), file.name));
      addOption(models.at(-1).description);
      element("model").selectedIndex = models.length - 1;
      const linked = new URLSearchParams(location.hash.slice(1)).get("model") === file.name;
      return linked ? openLink() : openModel();
    }
    const bytes = file.slice(0, 4 * LONGEST + 4); // one character more than the page reads
    const string = await bytes.text();
    if (string.includes("\0")) throw new Error("it is neither a text nor an .npz file");
    element("prompt").value = string;
    begin();
  } catch (error) {
    said.textContent = `The page cannot open ${file.name}: ${error.message}.`;
  }
}

/** Put what the page shows into its address, and copy that. */
async function copyLink() {
  const prompt = element("prompt").value;
  const read = encode(prompt).ids.length;
  const written = first === 0 ? text.slice(read).map(({ id }) => characters[id]).join("") : "";
  const [unit, held] = [chosen, pins].map((value) => JSON.stringify(value));
  const { name: model } = description;
  const state = { model, prompt, written, temperature: temperature(), colouring, unit, pins: held };
  const url = `${location.href.split("#")[0]}#${new URLSearchParams(state)}`;
  let said = "The page copied the link.";
  try {
    history.replaceState(null, "", url);
    await navigator.clipboard.writeText(url);
  } catch {
    said = "Copy the link from the address bar."; // the browser did not allow a copy
  }
  element("said").textContent = said;
}

/** Open the model, and show what the address says. */
function openLink() {
  const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const place = models.findIndex(({ description }) => description.name === state.model);
  const name = place < 0 && state.model?.slice(0, 100);
  element("said").textContent = name ? `This link needs the model ${name}. Open its file first.` : "";
  if (place >= 0) element("model").selectedIndex = place;
  if (place < 0 || state.prompt === undefined) return openModel();
  openModel(() => {});
  element("prompt").value = state.prompt;
  element("temperature").value = state.temperature ?? 0.5;
  showSettings();
  const there = (unit) => units[unit?.layer]?.[unit.unit] instanceof Element;
  const isValue = (value) => Number.isFinite(value) && Math.abs(value) <= 100;
  const usable = ({ c, h }) =>
    network.kind.memory === "c" ? isValue(c) && (h === null || isValue(h)) : isValue(h);
  begin(() => {
    const { ids } = encode((state.written ?? "").slice(0, LONGEST));
    inSlices(reading(ids, true), unchanged(), () => {
      try {
        const unit = JSON.parse(state.unit ?? "null");
        if (there(unit)) choose(unit.layer, unit.unit);
        const held = JSON.parse(state.pins ?? "[]");
        setPins(held.filter((pin) => there(pin) && usable(pin)));
        if ((unit && !there(unit)) || pins.length < held.length) throw new RangeError("no such unit");
      } catch {
        element("said").textContent = "The page could not read all of the link.";
      }
      setColouring(["surprise", "none"].find((name) => name === state.colouring) ?? "unit");
      toEnd();
    });
  });
}

let comparisons = 0; // begun: only the latest is shown

/** Show how surprising each character of one sentence is to two models. */
function compare() {
  if (!element("two").open) return;
  const n = (comparisons += 1);
  for (const { children } of document.querySelectorAll(".compared > div")) {
    const [list, shown, said] = children;
    const { description } = models[list.selectedIndex];
    const { ids, unknown } = encode(element("sentence").value, description.characters);
    const show = (bits) => {
      const spans = bits.map((one, k) => {
        const textContent = description.characters[ids[k]];
        const span = Object.assign(make("span", ""), { textContent, title: `${one.toFixed(1)} bits` });
        span.style.backgroundColor = surpriseColour(one);
        return span;
      });
      shown.replaceChildren(...spans);
      said.textContent = `${meanBits(bits)} bits per character.`;
      if (unknown.length) said.textContent += ` ${leftOut(unknown)}`;
    };
    inSlices(surprises(networkAt(list.selectedIndex), ids), () => n === comparisons, show);
  }
}
