
"use strict";
(() => {
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
  const count = () => rows.reduce((sum, _, place) => sum + done(place), 0);
  const ordered = () => rows.flatMap((_, place) => slots.map((of) => line(place, of)).filter(Boolean));

  function clock() {  // seconds on this row so far, while the page was visible
    const now = performance.now();
    if (!document.hidden) spent[at] = (spent[at] || 0) + (now - since) / 1000;
    since = now;
    return spent[at] || 0;
  }

  function decide(decision, more = {}, some = [slots[0]]) {
    const row = rows[at], was = done(at), seconds = Math.round(clock() * 100) / 100, now = new Date().toISOString();
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

  async function restore(given) {
    const found = (await given.text()).replace(/^\ufeff/, "").split("\n").filter((one) => one.trim());
    let taken = 0, same = 0;
    const bad = [];
    found.forEach((text, number) => {
      let one = null;
      try { one = JSON.parse(text); } catch { /* counted below */ }
      const row = one && rows[one.place], of = one && (one.axis ?? null);
      if (!one || one.sheet !== sheet.sheet || !row || row.id !== one.id || row.shown !== one.shown || !slots.includes(of)) return bad.push(number + 1);
      const key = slot(one.place, of), mine = lines[key];
      if (mine && mine.at >= one.at) { same += 1; return; }
      lines[key] = one;
      spent[one.place] = Math.max(spent[one.place] || 0, Number(one.seconds) || 0);
      taken += 1;
    });
    if (taken) { past = []; changed(); }
    const next = rows.findIndex((_, place) => !done(place));
    go(next < 0 ? rows.length - 1 : next);
    const rest = bad.length ? "; " + bad.length + " lines are not of this sheet (first: line " + bad[0] + ")" : "";
    say("From " + given.name + ": " + taken + " decisions taken, " + same + " were here already" + rest, bad.length > 0);
  }

  // ---- what is displayed
  const ready = new Map();  // decoded pictures of the rows around this one
  function picture(place) {
    const found = sheet.pictures[rows[place].picture];
    if (!found) return null;
    if (!ready.has(place)) {
      const [uri, width, height] = found, image = new Image(width, height);
      image.style.setProperty("--ratio", width / height);
      image.src = uri;
      image.decode().catch(() => {});
      ready.set(place, image);
      for (const old of ready.keys()) if (Math.abs(old - at) > 4 && old !== place) ready.delete(old);
    }
    return ready.get(place);
  }

  function element(tag, text, more = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return Object.assign(made, more);
  }
  const key = (text) => element("kbd", text, { ariaHidden: "true" });

  function go(place, of = 0) {
    clock();
    at = place;
    since = performance.now();
    axis = of;
    const open = slots.findIndex((one) => !line(at, one));
    if (rates && of === 0 && open > 0) axis = open;
    mode = "row";
    draw();
    unzoom();
    $("row").scrollTop = 0;
    if (innerWidth <= 832) scrollTo(0, 0);
    keep();
  }

  function current() {  // the row as it stands after an edit
    const row = rows[at], one = line(at);
    return one && one.decision === "edit" ? { ...row, question: one.question, answer: one.answer, choices: one.choices, right: one.right } : row;
  }

  function draw() {
    const row = current(), one = line(at);
    const image = picture(at);
    if (image) image.alt = "Picture of row " + (at + 1);
    if (!document.body.classList.contains("wordy")) $("picture").replaceChildren(image || element("p", "This picture cannot be shown"));
    $("task").textContent = sheet.task;
    $("before").hidden = !row.before.length;
    $("before").lastElementChild.replaceChildren(...row.before.flatMap(([asked, told]) => [element("dt", asked), element("dd", told)]));
    $("question").textContent = row.question;
    $("choices").replaceChildren(...(row.choices || []).map((text, n) => {
      const item = element("li");
      item.append(element("b", LETTERS[n] + "."), element("span", text));
      if (n === row.right) { item.className = "right"; item.append(element("em", "given as right")); }
      return item;
    }));
    $("phrase").textContent = row.phrase || "";
    $("answer").textContent = row.answer;
    $("shown").hidden = mode === "edit";
    $("edit").hidden = mode !== "edit";
    $("reasons").hidden = mode !== "reject";
    document.body.classList.toggle("editing", mode === "edit");
    $("verdict").replaceChildren();
    if (one && mode === "row" && !rates) {
      const why = one.reason ? sheet.reasons[one.reason] : "";
      $("verdict").append(element("b", WORDS[one.decision], { className: one.decision }), element("span", why));
    } else if (one && one.decision === "skip") $("verdict").append(element("b", "Skipped"));
    if (rates) drawRatings();
    numbers();
  }

  function drawRatings() {
    [...$("ratings").children].forEach((set, n) => {
      set.classList.toggle("now", slots.length > 1 && n === axis);
      const one = line(at, slots[n]);
      [...set.querySelectorAll("button")].forEach((button, value) => button.setAttribute("aria-pressed", String(!!one && one.rating === value + 1)));
    });
  }

  function numbers() {
    const finished = count(), seconds = recent.reduce((sum, one) => sum + one, 0);
    const pace = seconds ? 60 * recent.length / seconds : 0, left = rows.length - finished;
    $("place").textContent = (at + 1) + " of " + rows.length;
    $("pace").textContent = " · " + finished + " done" + (recent.length < 3 ? "" : " · " + (pace < 10 ? pace.toFixed(1) : Math.round(pace)) + " rows/min"
      + (left ? " · " + (left / pace < 1 ? "under 1" : Math.ceil(left / pace)) + " min left" : ""));
    $("meter").setAttribute("aria-valuenow", finished);
    $("meter").firstElementChild.style.transform = "scaleX(" + finished / rows.length + ")";
    state();
  }
  function state() {
    $("state").textContent = !stored ? "Drafts cannot be kept here: save often" : unsaved ? "Not saved to a file yet" : ordered().length ? "Saved" : "";
  }
  function say(text, loud = false) {
    $("said").textContent = text;
    $("said").classList.toggle("loud", loud);
  }

  // ---- editing
  function edit() {
    const row = current(), form = $("edit"), fields = [];
    const field = (name, value) => {
      const tall = value.split("\n").reduce((sum, one) => sum + 1 + Math.floor(one.length / 45), 0);  // where field-sizing is unknown
      const label = element("label", name), box = element("textarea", undefined, { value, rows: Math.min(tall, 14), spellcheck: true });
      label.append(box);
      fields.push(box);
      return label;
    };
    const labels = [];
    if (row.question) labels.push(field("Question", row.question));
    (row.choices || []).forEach((text, n) => labels.push(field("Choice " + LETTERS[n], text)));
    const answer = field(sheet.what === "captions" ? "Description" : "Answer", row.answer);
    const hint = element("p", undefined, { className: "hint", role: "alert" }), buttons = element("div");
    const ok = element("button", "Keep ", { type: "submit", className: "first" }), no = element("button", "Cancel ", { type: "button" });
    ok.append(key("Enter")); no.append(key("Esc"));
    no.addEventListener("click", leave);
    buttons.append(ok, no);
    hint.textContent = "Tab: next field. Shift+Enter: new line.";
    form.replaceChildren(...labels, answer, hint, buttons);
    fields.unshift(fields.pop());  // Tab goes from the answer to the question and the choices
    form.fields = fields;
    form.hint = hint;
    mode = "edit";
    draw();
    fields[0].focus();
    fields[0].setSelectionRange(row.answer.length, row.answer.length);
  }

  function keepEdit() {
    const row = rows[at], form = $("edit"), values = form.fields.map((box) => box.value.trim());
    const wrong = (text) => { form.hint.textContent = text; form.hint.classList.add("wrong"); };
    if (values.some((text) => !text)) return wrong("No field may be empty. Esc: back without a change.");
    if (values.some((text) => text.includes("<image>"))) return wrong("<image> is reserved: write it in other words.");
    const answer = values[0], question = row.question ? values[1] : "";
    const choices = row.choices ? values.slice(row.question ? 2 : 1) : null;
    let right = null;
    if (choices) {
      if (new Set(choices.map((text) => text.toLowerCase())).size < choices.length) return wrong("Two choices are equal.");
      const letter = /^([A-Z])\b/.exec(answer);
      right = letter ? LETTERS.indexOf(letter[1]) : -1;
      if (right < 0 || right >= choices.length) return wrong("Begin the answer with the letter of a choice, A to " + LETTERS[choices.length - 1] + ".");
    }
    const same = answer === row.answer && question === row.question && JSON.stringify(choices) === JSON.stringify(row.choices || null);
    mode = "row";
    if (document.activeElement) document.activeElement.blur();
    if (same) decide("accept"); else decide("edit", { question, answer, choices, right });
    forward(same ? "Accepted" : "Edited");
  }

  function leave() {
    mode = "row";
    if (document.activeElement) document.activeElement.blur();
    draw();
  }

  // ---- commands
  const commands = {
    accept: () => { if (!rates) { decide("accept"); forward("Accepted"); } },
    edit: () => { if (!rates) { unzoom(); edit(); } },
    reject: () => { if (!rates) { unzoom(); mode = mode === "reject" ? "row" : "reject"; draw(); $("reasons").scrollIntoView({ block: "nearest" }); } },
    skip, undo, save,
    back: () => go(Math.max(0, at - 1)),
    on: () => go(Math.min(rows.length - 1, at + 1)),
    zoom: () => { const on = document.body.classList.toggle("zoomed"); zoomed(on); },
    help: () => { if ($("help").open) $("help").close(); else $("help").showModal(); },
  };
  const KEYS = { a: "accept", e: "edit", r: "reject", " ": "skip", u: "undo", s: "save", k: "back", j: "on", arrowleft: "back", arrowright: "on", z: "zoom", "?": "help" };
  const zoomed = (on) => document.querySelector("[data-do=zoom]").setAttribute("aria-pressed", String(on));
  const unzoom = () => { document.body.classList.remove("zoomed"); zoomed(false); };

  function reject(number) {
    if (!reasons[number - 1]) return;
    decide("reject", { reason: reasons[number - 1][0] });
    forward("Rejected");
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const tag = event.target.tagName, name = event.key.toLowerCase();
    if (mode === "edit" && tag === "TEXTAREA") return typing(event);
    if ($("help").open) { if (event.key === "?") { commands.help(); event.preventDefault(); } return; }
    if (event.key === "Escape") { if (mode !== "row") leave(); else unzoom(); return; }
    if (tag === "TEXTAREA" || !$("keys-on").checked) return;
    if (["BUTTON", "SUMMARY", "INPUT"].includes(tag) && (event.key === " " || event.key === "Enter")) return;
    const digit = /^[1-7]$/.test(name) ? name : event.shiftKey ? null : (/^(?:Digit|Numpad)([1-7])$/.exec(event.code) || [])[1];
    const latin = name.length === 1 && name > "\u007f" ? (/^Key([A-Z])$/.exec(event.code) || ["", name])[1].toLowerCase() : name;
    const command = KEYS[latin];
    if (!digit && !command) return;
    event.preventDefault();
    if (event.repeat && !["back", "on"].includes(command)) return;  // a key held down decides one row
    if (mode === "edit") return;
    if (digit) { if (rates) rate(Number(digit)); else if (mode === "reject") reject(Number(digit)); return; }
    if (mode === "reject" && command !== "reject") leave();
    commands[command]();
  }

  function typing(event) {
    const fields = $("edit").fields, here = fields.indexOf(event.target);
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && !event.shiftKey) keepEdit();
    else if (event.key === "Tab") fields[(here + (event.shiftKey ? fields.length - 1 : 1)) % fields.length].focus();
    else return;
    event.preventDefault();
  }

  // ---- set up
  function button(label, name, onclick, more = {}) {
    const made = element("button", label + " ", { type: "button", ...more });
    made.append(key(name));
    made.setAttribute("aria-keyshortcuts", name);
    made.addEventListener("click", onclick);
    return made;
  }
  function build() {
    document.body.classList.toggle("wordy", rows.every((row) => row.picture === null));
    $("meter").setAttribute("aria-valuemax", rows.length);
    const all = rates ? [] : [
      button("Accept", "a", commands.accept, { className: "first" }), button("Edit", "e", commands.edit), button("Reject", "r", commands.reject),
    ];
    $("actions").append(...all, button("Skip", "Space", commands.skip));
    reasons.forEach(([, label], n) => { const made = button("", String(n + 1), () => reject(n + 1)); made.append(label); $("reasons").append(made); });
    $("ratings").hidden = !rates;
    $("ratings").classList.toggle("many", axes.length > 1);
    axes.forEach((of, n) => {
      const [asked, words] = sheet.axes[of], set = element("fieldset"), scale = element("div", undefined, { className: "scale" });
      const ends = element("p", undefined, { className: "ends" });  // on a phone, where the words do not fit into buttons
      ends.append(element("span", words[0]), element("span", words[words.length - 1]));
      set.append(element("legend", asked), scale, ends);
      words.forEach((word, value) => {
        const made = button("", String(value + 1), () => { axis = n; rate(value + 1); });
        made.append(element("span", word));
        made.ariaLabel = (value + 1) + ", " + word;
        scale.append(made);
      });
      $("ratings").append(set);
    });
    const help = [
      ...(rates ? [["1 – 5", "rate" + (axes.length > 1 ? " the marked question" : "")]] : [["a", "accept"], ["e", "edit: Enter keeps, Esc goes back, Tab changes the field"], ["r", "reject, then 1 – 7 for the reason"]]),
      ["Space", "skip"], ["u", "undo"], ["← → or k j", "previous and next row, without a decision"],
      ["z", "zoom into the picture"], ["s", "save the file"], ["?", "this help"],
    ];
    $("keys").tBodies[0].append(...help.map(([name, text]) => {
      const tr = element("tr"), th = element("th", undefined, { scope: "row" });
      th.append(element("kbd", name));
      tr.append(th, element("td", text));
      return tr;
    }));
  }

  document.addEventListener("keydown", pressed);
  document.addEventListener("mousedown", (event) => { if (event.target.closest("button")) event.preventDefault(); });  // keys stay with the row
  document.querySelectorAll("[data-do]").forEach((one) => one.addEventListener("click", () => commands[one.dataset.do]()));
  $("picture").addEventListener("click", commands.zoom);
  $("edit").addEventListener("submit", (event) => { event.preventDefault(); keepEdit(); });
  $("file").addEventListener("change", (event) => { const [given] = event.target.files; event.target.value = ""; $("help").close(); if (given) restore(given); });
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dropping"); const [given] = event.dataTransfer.files; if (given) restore(given); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) { spent[at] = (spent[at] || 0) + (performance.now() - since) / 1000; keep(); } since = performance.now(); });
  addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
  addEventListener("storage", (event) => { if (event.key === draft) say("This sheet is open in another tab: close one of them", true); });

  build();
  recall();
  go(at);
  say(ordered().length ? "Draft restored: " + count() + " rows done" : "");
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 30));
  new MutationObserver(() => idle(() => { for (const ahead of [1, 2, 3]) if (at + ahead < rows.length) picture(at + ahead); })).observe($("place"), { childList: true, characterData: true, subtree: true });
  idle(() => { for (const ahead of [1, 2]) if (ahead < rows.length) picture(at + ahead); });
})();
