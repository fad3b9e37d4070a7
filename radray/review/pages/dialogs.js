// Dialogs: another region, the keys, agreement and accuracy.
function openChoices() { if (!hasName()) return; $("search").value = ""; drawChoices(); $("choose").showModal(); $("search").focus(); }
function drawChoices() {
  const typed = $("search").value.trim().toLowerCase(), found = Object.entries(data.titles).filter(([name, text]) => (name + " " + text).toLowerCase().includes(typed));
  found.sort(([, a], [, b]) => b.toLowerCase().startsWith(typed) - a.toLowerCase().startsWith(typed));
  $("choices").replaceChildren(...found.map(([name, textContent]) => {
    const button = make("button", { type:"button", textContent });
    button.onclick = () => { $("choose").close(); judge(shown[at].label === name ? "confirm" : "correct", name); };
    return button;
  }));
}
$("search").addEventListener("input", drawChoices);
$("search").addEventListener("keydown", e => { if (e.key === "Enter") { e.preventDefault(); $("choices").firstElementChild?.click(); } });

const HELP = [["c", "label is right"], ["s", "correct to the suggestion"], ["x", "correct to another region"], ["o", "out of domain"], ["u", "unsure"],
  ["z", "undo, as often as you like"], ["j ↓", "next"], ["k ↑", "back"], ["e", "next open one"], ["h", "heat map: suggestion, label, off"], ["[ ]", "its opacity"],
  ["i", "invert"], ["+ − 0", "zoom in, out, as it was"], ["b", "blind: hide or show the model's opinion on label checks"], ["g", "grid of many"], ["n", "comment"], ["/", "search"], ["r", "results"], ["?", "this help"]];
function openHelp() {
  $("keys").replaceChildren(...HELP.map(([key, text]) => make("div", {}, make("kbd", { textContent:key }), text)));
  $("help").showModal();
}

const percent = share => share === null || share === undefined ? "–" : (100 * share).toFixed(1) + " %";
const table = (head, rows) => make("table", {}, make("tr", {}, ...head.map(textContent => make("th", { textContent }))), ...rows.map(row => make("tr", {}, ...row.map(textContent => make("td", { textContent })))));
async function figures(path) {
  const answer = await ask(path).catch(() => null);
  if (answer?.ok) return answer.json();
  $("agreement").append(make("p", { textContent:"The server does not answer; your verdicts wait here until it does." }));
}
async function openResults() {
  if (!served || !hasName()) return;
  $("agreement").replaceChildren(); $("accuracy").replaceChildren();
  $("results").showModal();
  const got = await figures("agreement");
  if (!got) return;
  $("agreement").append(make("h2", { textContent:"Do the reviewers agree?" }), got.pairs.length
    ? table(["reviewers", "images of both", "agreement", "Cohen's κ"], got.pairs.map(p => [p.reviewers.join(" and "), p.images, percent(p.agreement), p.kappa === null ? "–" : p.kappa.toFixed(2)]))
    : make("p", { textContent:"Only one reviewer so far." }),
    make("p", { textContent:got.pairs.length ? `${got.conflicts} of ${got.by_several} images that several judged are in conflict${got.alpha === null ? "" : `; Krippendorff's α of all is ${got.alpha.toFixed(2)}`}.` : "" }));
  const checks = data.items.filter(i => i.issue === "label_check"), open = checks.filter(i => !mine(i.id)).length;
  $("accuracy").append(make("h2", { textContent:"Accuracy after review" }), make("p", { textContent:open ? `${open} of your ${checks.length} label checks are open. The figures come when all are judged, so that they do not sway you.` : "All your label checks are judged." }));
  if (!open && checks.length) showAccuracy();
}
async function showAccuracy() {
  const got = await figures("accuracy"), range = e => !e ? "not estimated" : e.value === null ? `${percent(e.low)} to ${percent(e.high)}` : `${percent(e.value)} (${percent(e.low)} to ${percent(e.high)})`;
  if (got === undefined || got?.open) return;
  if (!got) { $("accuracy").append(make("p", { textContent:"This audit drew no control images, so the accuracy cannot be estimated without bias." })); return; }
  $("accuracy").append(
    table(["over all checked labels", "share (95 % interval)"], [["labels that are right", range(got.label_accuracy)], ["the model's answers that are right", range(got.model_accuracy)],
      ["the same one-sided (“theoretical accuracy”)", percent(got.theoretical_accuracy)]]),
    make("p", { textContent:got.not_estimated ? `Not estimated: ${got.not_estimated}.` : `${got.labelled} labels, ${got.suspected} of them suspected. One-sided: labels that were not suspected, and the answers on them, count as right. `
      + `Judged: ${got.suspects_judged} suspected and ${got.controls_judged} drawn at random from the others. `
      + (got.suspects_not_shown ? `${got.suspects_not_shown} more suspected labels than this page shows: without them only bounds are known. ` : "")
      + `Assumed: ${got.assumed.join("; ")}.` }));
}
