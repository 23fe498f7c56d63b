// Keys, buttons, and how the page begins.

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
