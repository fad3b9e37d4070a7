"use strict";
// The page of the service: one radiograph, and the jobs over archives. The key stays in this tab.
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const words = (name) => name.replaceAll("_", " ");
let asked = 0;

function headers(more) {
  const key = at("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : { ...more };
}

async function ask(method, url, body, more) {
  let answer;
  try {
    answer = await fetch(url, { method, body, headers: headers({ Accept: "application/json", ...more }) });
  } catch {
    throw new Error("the service cannot be reached");
  }
  const found = await answer.json().catch(() => ({ title: `HTTP ${answer.status}` }));
  if (!answer.ok) {
    throw new Error([found.title, found.detail].filter((part) => part).join(": "));
  }
  return found;
}

function say(text, bad = false) {
  at("state").textContent = text;
  at("state").classList.toggle("bad", bad);
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function show(answer) {
  at("picture").src = answer.picture;
  at("heat").hidden = !(answer.heat_map && at("over").checked);
  at("over").disabled = !answer.heat_map;
  if (answer.heat_map) at("heat").src = answer.heat_map;
  at("region").textContent = words(answer.region);
  at("confidence").textContent = percent(answer.confidence);
  at("code").textContent = answer.code;
  at("bundle").textContent = answer.bundle.slice(0, 12);
  const notes = [];
  if (answer.abstained) notes.push("the bundle is not sure: a person should look");
  if (answer.turned_deg) notes.push(`turned by ${answer.turned_deg}°`);
  if (answer.inverted) notes.push("grey values inverted");
  if (answer.header_label) {
    notes.push(`the header says ${words(answer.header_label)}${answer.agrees ? "" : ", which differs"}`);
  } else {
    notes.push("the header names no region");
  }
  notes.push(`farther out than ${percent(answer.ood_score)} of the images it was tested on`);
  at("notes").textContent = notes.join(" · ");
  at("probabilities").replaceChildren(...answer.top.map((guess) => {
    const line = document.createElement("li");
    const meter = document.createElement("meter");
    meter.value = guess.probability;
    meter.setAttribute("aria-label", guess.title);
    line.append(element("span", guess.title), meter, element("span", percent(guess.probability)));
    return line;
  }));
  at("members").replaceChildren(...Object.entries(answer.members).map(([name, view]) =>
    element("li", `${name}: ${words(view.region)}, ${percent(view.confidence)}`)));
  at("answer").hidden = false;
}

async function send(file) {
  const turn = ++asked;
  const kind = ["image/png", "image/jpeg"].includes(file.type) ? file.type : "application/dicom";
  say("asking …");
  try {
    const answer = await ask("POST", "v1/region?pictures=true", file, { "Content-Type": kind });
    if (turn !== asked) return;
    show(answer);
    say("");
  } catch (error) {
    if (turn !== asked) return;
    at("answer").hidden = true;
    say(error.message, true);
  }
}

function row(job) {
  const line = document.createElement("tr");
  const objects = job.rows_total ? `${(job.rows_done ?? 0).toLocaleString()} of ${job.rows_total.toLocaleString()}` : "";
  const left = job.eta_s !== null && job.status === "running" ? `${Math.round(job.eta_s)} s` : "";
  for (const text of [job.id, job.archive, job.message ? `${job.status}: ${job.message}` : job.status, objects, left]) {
    line.append(element("td", text));
  }
  const last = document.createElement("td");
  if (job.status === "running" || job.status === "pending") {
    const stop = element("button", "stop");
    stop.addEventListener("click", () => ask("DELETE", `v1/relabels/${job.id}`).then(watch, (error) => say(error.message, true)));
    last.append(stop);
  }
  line.append(last);
  return line;
}

async function watch() {
  try {
    const jobs = (await ask("GET", "v1/relabels")).slice(0, 20);
    const live = (job) => job.status === "running" || job.status === "pending";
    const told = await Promise.all(jobs.map((job) => (live(job) ? ask("GET", `v1/relabels/${job.id}`) : job)));
    at("jobs").replaceChildren(...told.map(row));
    at("relabels").hidden = !told.length;
  } catch {
    at("relabels").hidden = true; // no key yet, not its role, or no archive is allowed
  }
}

at("key").value = sessionStorage.getItem("radray-key") ?? "";
at("key").addEventListener("change", () => {
  sessionStorage.setItem("radray-key", at("key").value.trim());
  watch();
});
at("file").addEventListener("change", () => at("file").files.length && send(at("file").files[0]));
at("over").addEventListener("change", () => { at("heat").hidden = !at("over").checked; });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
watch().finally(() => { document.body.dataset.ready = "yes"; });
setInterval(watch, 5000);
