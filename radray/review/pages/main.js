// Keys, buttons, and the start.
const KEYS = {
  1:() => act("confirm"), c:() => act("confirm"), 2:() => act("suggest"), s:() => act("suggest"), x:() => act("choose"), o:() => act("out_of_domain"), u:() => act("unsure"), z:undo,
  j:() => go(1), k:() => go(-1), ArrowDown:() => go(1), ArrowUp:() => go(-1), e:() => { const next = shown.findIndex((i, n) => n > at && !mine(i.id)); if (next >= 0) { at = next; moved(); } },
  h:LOOKS.heat, "[":() => setOpacity(opacity - .1), "]":() => setOpacity(opacity + .1), i:LOOKS.invert, "+":LOOKS.in, "=":LOOKS.in, "-":LOOKS.out, 0:LOOKS.reset,
};
const ALWAYS = { b:() => setBlind(!blind), g:() => setGrid($("grid").hidden), r:openResults, "?":openHelp, "/":() => { $("filters").classList.add("open"); $("find").focus(); }, n:() => $("comment").focus() };
const GRID_KEYS = { a:GRID.all, c:GRID.confirm, s:GRID.suggest, z:undo, j:GRID.after, k:GRID.before, ArrowRight:GRID.after, ArrowLeft:GRID.before, PageDown:GRID.after, PageUp:GRID.before, Escape:() => setGrid(false) };
document.addEventListener("keydown", e => {
  if (document.querySelector("dialog[open]") || e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input:not([type=range]), select")) return;
  if (e.key === " " || e.key === "Enter") return;
  const found = ($("grid").hidden ? KEYS[e.key] : GRID_KEYS[e.key]) || ALWAYS[e.key];
  if (found && (!e.repeat || "jkArrowDownArrowUp+-=[]".includes(e.key))) { e.preventDefault(); found(); }
});
for (const id of ["issue", "region", "station", "state"]) $(id).addEventListener("change", () => { $(id).blur(); refilter(false); });
$("find").addEventListener("input", () => refilter(false));
for (const id of ["find", "comment"]) $(id).addEventListener("keydown", e => { if (e.key === "Enter" || e.key === "Escape") e.target.blur(); });
$("reviewer").addEventListener("keydown", e => { if (e.key === "Enter") $("reviewer").blur(); });
$("reviewer").addEventListener("change", async () => {
  me = $("reviewer").value.trim(); remember("radray-reviewer", me); $("reviewer").classList.toggle("wanted", !me);
  try { await loadVerdicts(); tell(""); } catch (error) { tell(error.message, true); }
  refilter(false);
});
$("filterbutton").addEventListener("click", () => $("filters").classList.toggle("open"));
for (const [id, what] of [["gridbutton", ALWAYS.g], ["blindbutton", ALWAYS.b], ["resultsbutton", openResults], ["helpbutton", openHelp], ["export", exportCsv], ["importbutton", () => $("import").click()]])
  $(id).addEventListener("click", () => { what(); $(id).blur(); });
$("import").addEventListener("change", () => { if ($("import").files[0]) importCsv($("import").files[0]); $("import").value = ""; });
addEventListener("beforeunload", e => { if (unsent.length) e.preventDefault(); });

async function start() {
  setOpacity(opacity);
  for (const id of ["export", "importbutton"]) $(id).hidden = served;
  $("resultsbutton").hidden = !served;
  if (served) {
    // The token stands behind the #, which browsers never send; it leaves the address bar at once.
    token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("radray-token") || "";
    sessionStorage.setItem("radray-token", token); history.replaceState(null, "", location.pathname);
    const answer = await ask("queue").catch(() => null);
    if (!answer?.ok) { tell(answer ? (await answer.json()).detail : "the server does not answer", true); $("empty").textContent = $("saved").textContent; $("empty").hidden = false; for (const id of ["queue", "stage", "panel"]) $(id).hidden = true; return; }
    data = await answer.json();
    $("notes").textContent = data.notes.join(" · ");
  } else {
    data = JSON.parse(inline.textContent);
    if (data.left_out) $("notes").textContent = `${data.left_out} more are not in this file; jobs/review.py shows all.`;
  }
  const fixed = data.reviewer ?? null;
  me = fixed ?? String(recall("radray-reviewer", "") || "");
  $("reviewer").hidden = fixed !== null; $("reviewer").value = me; $("me").hidden = fixed === null; $("me").textContent = fixed ?? "";
  blind = recall(blindKey(), data.blind); $("blindbutton").setAttribute("aria-pressed", blind);
  fillFilters();
  try { await loadVerdicts(); } catch (error) { tell(error.message || "the server does not answer", true); }
  refilter(false);
  document.body.dataset.ready = performance.now().toFixed(0);
}
start();
