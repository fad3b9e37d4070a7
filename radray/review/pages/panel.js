// One item: its facts beside the picture, and the keys that judge it.
const ISSUES = { label_check:"Label check", missing_label:"Missing label", out_of_domain:"Out of domain", near_duplicate:"Near-duplicate" };
let shown = [], at = 0, blind = false;
const isHidden = item => blind && item.issue === "label_check" && !mine(item.id);
// The label as this reviewer's own verdict leaves it; another's is not told here.
function labelNow(label, id) {
  const my = mine(id);
  if (!my || outcome(my) === null || clashing(id).length) return title(label);
  return outcome(my) === "" ? "out of domain" : title(outcome(my));
}

function showItem() {
  const item = shown[at], grid = !$("grid").hidden;
  $("empty").hidden = !!item;
  for (const part of ["stage", "panel"]) $(part).hidden = !item || grid;
  $("queue").hidden = !item || grid;
  if (!item || grid) { $("cells").parentElement.hidden = !grid || !item; return; }
  showPicture(item);
  showFacts(item);
  const rest = shown.slice(at + 1, at + 40).filter(i => !mine(i.id));
  fetchAhead(rest.length ? rest : shown.slice(at + 1));
}
function showFacts(item) {
  const hidden = isHidden(item), my = mine(item.id);
  $("facts").classList.toggle("hide", hidden);
  $("kind").textContent = ISSUES[item.issue] || item.issue;
  $("note").textContent = [item.note, item.station ? "station " + item.station : ""].filter(Boolean).join(" · ");
  document.querySelector("#label strong").textContent = title(item.label);
  document.querySelector("#suggested strong").textContent = item.suggested && !hidden ? title(item.suggested) : "–";
  $("odds").replaceChildren(...(hidden ? [] : item.top).flatMap(([name, p]) => {
    const fill = make("i"); fill.style.width = 100 * p + "%";
    return [make("span", { textContent:title(name) }), make("div", { className:"bar" }, fill), make("span", { textContent:Math.round(100 * p) + " %" })];
  }));
  $("oddsbox").hidden = !item.top.length;
  $("neartitle").textContent = !item.near.length ? "" : item.issue === "near_duplicate" ? "Looks like" : hidden ? "Nearest images (labels hidden)" : "Nearest images of other patients";
  $("near").replaceChildren(...item.near.map(([number, label, id]) => {
    const img = make("img", { alt:"" }); fillImage(img, number);
    return make("figure", { className:item.near.length === 1 ? "big" : "" }, img, make("figcaption", { textContent:hidden ? "" : labelNow(label, id) }));
  }));
  const act = name => document.querySelector(`[data-act=${name}]`), corrects = item.label && item.suggested && item.suggested !== item.label;
  $("confirmtext").textContent = item.label ? "Label is right: " + title(item.label) : hidden ? "Suggestion is right" : "Suggestion is right: " + title(item.suggested);
  act("confirm").disabled = !item.label && (!item.suggested || hidden);
  $("suggesttext").textContent = !corrects ? "No suggestion" : hidden ? "Suggestion hidden" : "Correct to " + title(item.suggested);
  act("suggest").disabled = !corrects || hidden;
  const chosen = !my ? "" : my.verdict !== "correct" ? my.verdict : corrects && my.region === item.suggested ? "suggest" : "choose";
  document.querySelectorAll("[data-act]").forEach(b => b.classList.toggle("chosen", b.dataset.act === chosen));
  $("given").className = my ? "done" : "";
  $("given").textContent = my ? "Your verdict: " + words(my) + (my.comment ? ` (${my.comment})` : "") : "No verdict yet";
  const clash = clashing(item.id);
  $("others").replaceChildren(...(my ? others.get(item.id) || [] : []).map(v => make("li", { className:clash.includes(v) ? "clash" : "", textContent:`${v.reviewer}: ${words(v)}${v.comment ? ` (${v.comment})` : ""}` })));
}
function showProgress() {
  const inView = data.items.filter(i => matches(i, true)), done = inView.filter(i => mine(i.id)).length;
  $("bar").style.width = (inView.length ? 100 * done / inView.length : 0) + "%";
  $("bar").parentElement.setAttribute("aria-valuenow", inView.length ? Math.round(100 * done / inView.length) : 0);
  $("count").textContent = `${done} of ${inView.length} judged · ${shown.length ? at + 1 : 0}/${shown.length} in view`;
  const pace = rate();
  $("pace").textContent = pace ? `${pace.toFixed(pace < 10 ? 1 : 0)} a minute · ${lasting((inView.length - done) / pace)} left` : "";
}
const lasting = minutes => minutes < 1 ? "under a minute" : minutes < 90 ? Math.round(minutes) + " min" : (minutes / 60).toFixed(1) + " h";
const times = [];
function rate() {
  // Pauses of more than a minute do not count.
  const gaps = times.slice(-60).map((t, n, all) => n ? t - all[n - 1] : 0).slice(1).filter(gap => gap < 60000);
  return gaps.length < 4 ? 0 : 60000 * gaps.length / Math.max(1, gaps.reduce((a, b) => a + b, 0));
}
function redraw() { drawRows(); drawCells(); showProgress(); if (shown[at] && $("grid").hidden) showFacts(shown[at]); }

function hasName() {
  if (me) return true;
  $("reviewer").classList.add("wanted"); $("reviewer").focus(); tell("first say who you are", true); return false;
}
function give(item, verdict, region) {
  record(item.id, verdict, region, verdict === "undo" ? "" : $("comment").value.trim(), isHidden(item));
  if (verdict !== "undo") { times.push(performance.now()); $("comment").value = ""; }
}
function judge(verdict, region) {
  const item = shown[at];
  if (!item || !hasName()) return;
  give(item, verdict, region);
  const next = shown.findIndex((i, n) => n > at && !mine(i.id));
  if (next >= 0) at = next; else if (at < shown.length - 1) at += 1;
  moved();
}
function moved() { scrollToRow(); showItem(); drawRows(); showProgress(); }
function go(step) { if (shown.length) { at = Math.min(shown.length - 1, Math.max(0, at + step)); moved(); } }
function undo() {
  const last = lastLive();
  if (!last || !hasName()) { if (me) tell("nothing to undo"); return; }
  const item = shown.find(i => i.id === last.item) || data.items.find(i => i.id === last.item);
  give(item, "undo");
  if (!shown.includes(item)) { clearFilters(); refilter(true); }
  at = Math.max(0, shown.indexOf(item));
  if ($("grid").hidden) moved(); else redraw();
}
const ACTS = {
  next() { go(1); }, back() { go(-1); }, undo,
  confirm() { const item = shown[at]; if (item.label || item.suggested && !isHidden(item)) judge("confirm", item.label || item.suggested); },
  suggest() { const item = shown[at]; if (item.label && item.suggested && item.suggested !== item.label && !isHidden(item)) judge("correct", item.suggested); },
  choose() { openChoices(); }, out_of_domain() { judge("out_of_domain"); }, unsure() { judge("unsure"); },
};
function act(name) { if (shown[at]) ACTS[name](); }
document.querySelectorAll("[data-act]").forEach(b => b.addEventListener("click", () => { act(b.dataset.act); b.blur(); }));
function setBlind(value) { blind = value; remember(blindKey(), blind); $("blindbutton").setAttribute("aria-pressed", blind); showItem(); redraw(); }
const blindKey = () => `radray-blind-${data.place}`;
