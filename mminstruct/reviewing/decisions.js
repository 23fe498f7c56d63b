// What a person decided: kept in the browser at every key, saved to a file, taken back from one.

const sheet = JSON.parse(document.getElementById("data").textContent);
const rows = sheet.rows, axes = Object.keys(sheet.axes), rates = axes.length > 0;
const reasons = Object.entries(sheet.reasons);
const slots = rates ? axes : [null];
const draft = "mminstruct-review:" + sheet.sheet;
const WORDS = { accept: "Accepted", edit: "Edited", reject: "Rejected", skip: "Skipped", rate: "Rated" };
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const $ = (id) => document.getElementById(id);

let lines = {}, spent = {}, past = [], recent = [];  // by slot, by place, for undo, seconds of the last rows
let at = 0, axis = 0, mode = "row", unsaved = false, revision = 0, file = null, stored = true;
let since = performance.now();

// ---- what is decided
const slot = (place, of) => of === null ? String(place) : place + "." + of;
const line = (place, of = slots[0]) => lines[slot(place, of)];
const done = (place) => slots.every((of) => line(place, of));
const told = (place, some = slots) => some.reduce((sum, of) => sum + (Number((line(place, of) || {}).seconds) || 0), 0);
const count = () => rows.reduce((sum, _, place) => sum + done(place), 0);
const ordered = () => rows.flatMap((_, place) => slots.map((of) => line(place, of)).filter(Boolean));

function clock() {  // seconds on this row so far, while the page was visible
  const now = performance.now();
  if (!document.hidden) spent[at] = (spent[at] || 0) + (now - since) / 1000;
  since = now;
  return spent[at] || 0;
}

function decide(decision, more = {}, some = [slots[0]]) {
  const row = rows[at], was = done(at), now = new Date().toISOString();
  const rest = clock() - told(at, slots.filter((of) => !some.includes(of)));  // the lines of a row share its time
  const seconds = Math.round(100 * Math.max(0, rest) / some.length) / 100;
  past.push([at, some.map((of) => [slot(at, of), line(at, of) || null])]);
  for (const of of some) lines[slot(at, of)] = {
    sheet: sheet.sheet, person: sheet.person, id: row.id, shown: row.shown, decision,
    rating: null, reason: null, question: null, answer: null, choices: null, right: null,
    seconds, at: now, page: sheet.page, place: at, axis: of, ...more,
  };
  if (past.length > 200) past.shift();
  if (!was && done(at)) recent = [...recent.slice(-29), spent[at]];
  changed();
}

function undo() {
  if (!past.length) return say("Nothing to undo");
  const [place, before] = past.pop();
  for (const [key, one] of before) if (one) lines[key] = one; else delete lines[key];
  changed();
  go(place, Math.max(0, slots.findIndex((of) => slot(place, of) === before[0][0])));
  say("Undone: row " + (place + 1));
}

function forward(word) {  // the next row without a decision, from here on and then from the start
  const told = word + ": row " + (at + 1);
  const order = [...rows.keys()], next = [...order.slice(at + 1), ...order.slice(0, at + 1)].find((place) => !done(place));
  if (next !== undefined) go(next);
  else { draw(); return say("All " + rows.length + " rows are done. " + (unsaved ? "Press s to save your file." : ""), false); }
  say(told);
}

function rate(value) {
  if (value > 5) return;
  decide("rate", { rating: value }, [slots[axis]]);
  if (axis + 1 < slots.length) { axis += 1; draw(); } else if (done(at)) forward("Rated " + value); else { axis = slots.findIndex((of) => !line(at, of)); draw(); }
}

function skip() {
  decide("skip", {}, rates ? slots.filter((of) => !line(at, of) || done(at)) : slots);
  forward("Skipped");
}

// ---- drafts and files
function changed() { unsaved = true; revision += 1; keep(); }
let due = false;
function keep() {  // once a key, after all its changes
  if (!due) queueMicrotask(write);
  due = true;
}
function write() {
  due = false;
  try { localStorage.setItem(draft, JSON.stringify({ lines, spent, past, recent, at, unsaved })); stored = true; }
  catch { stored = false; }
}
function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(draft) || "null");
    if (found) ({ lines, spent, past, recent, at, unsaved } = found);
  } catch { stored = false; }
  at = Math.min(Math.max(0, at | 0), rows.length - 1);
}

async function save() {
  const some = ordered(), now = revision, name = sheet.person + ".jsonl";
  if (!some.length) return say("Nothing to save yet");
  const text = some.map((one) => JSON.stringify(one)).join("\n") + "\n";
  let into = "downloads as " + name;
  if (window.showSaveFilePicker) {
    try {
      file = file || await showSaveFilePicker({ suggestedName: name, types: [{ accept: { "application/jsonl": [".jsonl"] } }] });
      const writer = await file.createWritable();
      await writer.write(text);
      await writer.close();
      into = file.name;
    } catch (error) {
      if (error.name === "AbortError") return say("Not saved");
      file = null;
      download(text, name);
    }
  } else download(text, name);
  unsaved = revision !== now;
  keep();
  state();
  say("Saved " + some.length + " lines: " + into);
}
function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function sound(one) {  // a line that this page can show; files may be edited by hand
  if (one.decision !== "edit") return Object.hasOwn(WORDS, one.decision) && (one.decision === "skip" || rates === (one.decision === "rate"));
  const choices = one.choices || [];
  return !rates && Array.isArray(choices) && [one.question, one.answer, ...choices].every((text) => typeof text === "string");
}
async function restore(given) {
  const found = (await given.text()).replace(/^\ufeff/, "").split("\n").filter((one) => one.trim());
  let taken = 0, same = 0;
  const bad = [];
  found.forEach((text, number) => {
    let one = null;
    try { one = JSON.parse(text); } catch { /* counted below */ }
    const row = one && rows[one.place], of = one && (one.axis ?? null);
    if (!one || one.sheet !== sheet.sheet || !row || row.id !== one.id || row.shown !== one.shown || !slots.includes(of) || !sound(one)) return bad.push(number + 1);
    const key = slot(one.place, of), mine = lines[key];
    if (mine && mine.at >= one.at) { same += 1; return; }
    lines[key] = one;
    spent[one.place] = Math.max(spent[one.place] || 0, told(one.place));
    taken += 1;
  });
  if (taken) { past = []; changed(); }
  const next = rows.findIndex((_, place) => !done(place));
  go(next < 0 ? rows.length - 1 : next);
  const rest = bad.length ? "; " + bad.length + " lines are not of this sheet (first: line " + bad[0] + ")" : "";
  say("From " + given.name + ": " + taken + " decisions taken, " + same + " were here already" + rest, bad.length > 0);
}
