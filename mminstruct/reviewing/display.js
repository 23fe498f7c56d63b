// The row on the screen, and the form in which it is edited.

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
