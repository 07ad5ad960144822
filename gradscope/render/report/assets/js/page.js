// The page: what is chosen (signal, step, layer, scale), and everything that follows from it.

const chosen = { signal: null, step: 0, layer: null, log: true, view: "Loss", matches: [], run: 0 };
const end = Math.max(...runs.map((run) => run.last), 0) + 1;
const attributions = runs.map((run) => run.attribution && new Attribution(run.attribution));

const signals = new Map(runs.flatMap((run) => [...run.profiles.values()].map((p) => [p.id, p.title])));
const shownRuns = () => runs.filter((run) => run.profiles.has(chosen.signal));
const curves = () => shownRuns().map((run) => { const profile = run.profiles.get(chosen.signal); return { run, profile, frame: profile.frame(chosen.step) }; });
const findingsOf = (run) => run.findings.filter((f) => (f.at[chosen.signal] || []).length);

const maps = new Map(runs.map((run) => {
  const title = element("p", { class: "map-title" }, runs.length > 1 ? plain(run.label, 60) : ""), holder = element("div", { class: "chart map", id: `map-${run.index}`, tabindex: 0, role: "img" });
  byId("maps").append(title, holder);
  return [run, { title, holder, chart: null }];
}));
const profileChart = new ProfileChart(byId("profile"), (layer) => point({ layer }), (layer) => choose({ layer }));
const seriesChart = new SeriesChart(byId("series"), sayStep);
const causeChart = new AttributionChart(byId("attribution"), sayBar);

// The steps that the slider stops at: those of the run that has most of them.
function stops() {
  return shownRuns().map((run) => run.profiles.get(chosen.signal).steps).reduce((a, b) => (b.length > a.length ? b : a), [0]);
}

function drawMaps() {
  const shown = curves();
  const scale = shown.length && colourScale(shown.map((c) => c.profile));
  for (const [run, map] of maps) {
    const profile = run.profiles.get(chosen.signal);
    map.title.hidden = map.holder.hidden = !profile;
    if (!profile) continue;
    map.chart ||= new HeatMap(map.holder, run, (of, at) => point(at && { layer: at.layer, frame: at.frame, run: of }), (of, at) => choose({ layer: at.layer, step: of.profiles.get(chosen.signal).steps[at.frame] }));
    const boxes = findingsOf(run).flatMap((f) => f.at[chosen.signal].map(([a, b]) => frameOf(f, a, b)));
    map.chart.show(profile, scale, end, boxes);
    map.holder.setAttribute("aria-label", `Heat map of ${profile.title}, ${profile.layers.length} ${profile.axis}s by ${thousands(profile.raw.recorded)} recorded steps, of ${plain(run.label, 60)}. Arrow keys move the cursor; the table below has the numbers.`);
  }
  if (shown.length) mapLegend(byId("map-legend"), shown.map((c) => c.profile), scale);
}

// The layers `a` to `b` and the steps of a finding, framed in the map, with its code where there is room.
function frameOf(finding, a, b) {
  const paint = colour(`frame-${finding.severity}`), [first, last] = finding.steps;
  const label = { show: true, position: "insideTopLeft", distance: 4, formatter: finding.code, color: paint, fontSize: 11, fontWeight: 600, textBorderColor: "#fff", textBorderWidth: 3 };
  return [{ coord: [first, a - 0.5], label, itemStyle: { color: "transparent", borderColor: paint, borderWidth: 1.5 } }, { coord: [last + 1, b + 0.5] }];
}

function drawProfile() {
  const shown = curves();
  if (!shown.length) return;
  profileChart.show(shown, chosen.log, runs.length > 1 ? [] : findingsOf(shown[0].run), chosen.matches);
  const { profile, frame } = shown[0], steps = [...new Set(shown.map((c) => c.profile.steps[c.frame]))];
  const when = `at step ${thousands(Math.max(...steps))}${steps.length > 1 ? ", or the last one before it" : ""}`;
  byId("profile-title").textContent = `${plain(profile.title, 90)}, ${when}`;
  byId("profile").setAttribute("aria-label", `Profile: ${plain(profile.title, 90)}, ${when}. Left and right move the cursor; the table below has the numbers.`);
  const notes = [];
  if (runs.length > 1) shown.forEach(({ run }) => notes.push(element("span", {}, swatch(runColour(run.index)), plain(run.label, 40))));
  if (profile.reduced) notes.push(element("span", {}, `band: smallest to largest of steps ${thousands(profile.steps[frame])} to ${thousands(profile.until[frame])}; ${thousands(profile.raw.recorded)} recorded steps are shown in ${thousands(profile.steps.length)} frames`));
  if (profile.chance && chosen.log && runs.length === 1) notes.push(element("span", {}, swatch(colour("chance")), "what chance alone gives at this width"));
  if (profile.theory && runs.length === 1) notes.push(element("span", {}, swatch(colour("ink"), true), "theory, before training"));
  if (profile.raw.absent) notes.push(element("span", {}, `${profile.raw.absent} of ${profile.layers.length} were not recorded`));
  byId("profile-legend").replaceChildren(...notes);
  refill.profile();
}

function swatch(paint, dotted = false) {
  const canvas = element("canvas", { width: 26, height: 12, "aria-hidden": "true" }), context = canvas.getContext("2d");
  context.fillStyle = paint;
  if (dotted) for (let x = 0; x < 26; x += 5) context.fillRect(x, 5, 2, 2);
  else context.fillRect(0, 0, 26, 12);
  return canvas;
}

function drawSeries() {
  const columns = VIEWS[chosen.view];
  seriesChart.show(columns, end, chosen.step, runs.length > 1 ? [] : runs[0].findings, !chosen.log);
  byId("series").setAttribute("aria-label", `${chosen.view} over ${thousands(end)} steps, with events. The table below has the numbers.`);
  const entries = runs.flatMap((run) => columns.filter((c) => run.series.has(c)).map((c, i) =>
    (runs.length > 1 && i ? null : element("span", {}, swatch(runs.length > 1 ? runColour(run.index) : colour(i ? "run-1" : "run-0")), runs.length > 1 ? plain(run.label, 40) : run.series.get(c).name))));
  byId("series-legend").replaceChildren(...entries.filter(Boolean));
  sayStep(null);
  refill.series();
}

function drawCause() {
  const found = attributions[chosen.run];
  byId("cause").hidden = !attributions.some(Boolean);
  if (!found) return;
  const frame = causeChart.show(found, chosen.step), said = (words, decades) => (Number.isNaN(decades) ? words : `${words} ${number(decades)}`);
  byId("cause-run").value = chosen.run;
  byId("cause-words").textContent = `At step ${thousands(found.steps[frame])}, ${found.said(frame)}. Bars below 0 take from the gradient, bars above 0 add to it.`;
  byId("attribution").setAttribute("aria-label", byId("cause-words").textContent);
  byId("cause-legend").replaceChildren(...found.words.map((words, k) => element("span", {}, swatch(colour(`kind-${found.kinds[k]}`)), said(words, found.total(frame, k)))),
    ...(found.together > 1 ? [element("span", {}, `each bar: ${found.together} links`)] : []),
    ...(found.unexplained.length ? [element("span", {}, `${found.unexplained.length} links cannot be told apart: ${plain(found.unexplained[0][1])}`)] : []));
  sayBar(null);
  refill.cause();
}

// What the pointer or the keys are on, in words and as lines in every chart.
function point(at) {
  const layer = at && at.layer !== undefined && at.layer !== null ? at.layer : chosen.layer, shown = curves();
  const words = shown.map(({ run, profile, frame }) => {
    if (layer === null || layer < 0 || layer >= profile.layers.length) return "";
    const f = at && at.frame !== undefined && at.run === run ? at.frame : at && at.frame !== undefined ? profile.frame(at.run.profiles.get(chosen.signal).steps[at.frame]) : frame, here = profile.at(f, layer);
    const range = profile.reduced && profile.until[f] > profile.steps[f] && Number.isFinite(here.low) ? ` (to step ${thousands(profile.until[f])}: ${number(10 ** here.low)} to ${number(10 ** here.high)}${here.mark > ZERO ? `, ${STATE_WORDS[here.mark]}` : ""})` : "";
    return `${runs.length > 1 ? `${plain(run.label, 24)}  ` : ""}${profile.axis === "layer" ? plain(profile.layers[layer], 48) : `time step ${profile.layers[layer]}`}  step ${thousands(profile.steps[f])}  ${number(here.value)}${range}`;
  });
  byId("readout").textContent = words.filter(Boolean).join("   ·   ") || "Point at a layer, or move there with the arrow keys; a click sets the step.";
  profileChart.cursor(layer);
  for (const [run, map] of maps) if (map.chart && !map.holder.hidden) map.chart.cursor(at && at.frame !== undefined ? at.run.profiles.get(chosen.signal).steps[at.frame] : chosen.step, layer);
}

function sayStep(step) {
  const at = step === null ? chosen.step : step;
  const words = runs.flatMap((run) => VIEWS[chosen.view].filter((c) => run.series.has(c)).map((c) => { const found = run.series.get(c).at(at); return `${runs.length > 1 ? `${plain(run.label, 24)} ` : ""}${run.series.get(c).name} ${number(found.value, 4)} at step ${thousands(found.step)}`; }));
  const events = runs.flatMap((run) => Object.entries(run.events).filter(([, spans]) => spans.some(([a, b]) => a <= at && at <= b)).map(([kind]) => EVENT_WORDS[kind]));
  byId("loss-readout").textContent = [...words, ...new Set(events)].join("   ·   ");
  seriesChart.cursor(at);
}

function sayBar(bar) {
  const found = attributions[chosen.run];
  if (!found || bar === null || bar < 0 || bar >= found.bars) { byId("cause-readout").textContent = "Point at a bar to read it."; return; }
  const frame = found.frame(chosen.step);
  byId("cause-readout").textContent = `${found.between(bar, 30)}  ` + found.words.map((words, k) => `${words} ${number(found.total(frame, k, ...found.links(bar)))}`).join("   ");
}

// Choose something; what depends on it is drawn anew.
function choose(change) {
  const before = { ...chosen };
  Object.assign(chosen, change);
  const steps = stops(), at = lastUpTo(steps, chosen.step);
  chosen.step = steps[at];
  Object.assign(byId("step"), { max: steps.length - 1, value: at });
  byId("step-words").textContent = `${thousands(chosen.step)} of ${thousands(end - 1)}`;
  byId("step").setAttribute("aria-valuetext", `step ${chosen.step}`);
  for (const name of ["log", "linear"]) byId(name).setAttribute("aria-pressed", String(chosen.log === (name === "log")));
  if (change.signal !== undefined || change.redraw) {
    byId("signal").value = chosen.signal;
    const layers = curves().length ? curves()[0].profile.layers : [];
    byId("layer-names").replaceChildren(...layers.slice(0, 2000).map((name) => element("option", { value: plain(name) })));
    drawMaps();
  }
  if (signals.size) drawProfile();
  if (change.view !== undefined || change.redraw || before.log !== chosen.log) drawSeries();
  if (before.step !== chosen.step || before.run !== chosen.run || change.redraw) drawCause();
  delete chosen.redraw;
  if (signals.size) point(null);
  sayStep(null);
}

function showFinding(run, finding) {
  const { chart, signal, step } = finding.show;
  if (chart === "profile") {
    const spans = finding.at[signal] || [];
    choose({ signal, step, layer: spans.length ? spans[0][0] : null, run: run.index, matches: [] });
    return;
  }
  const view = Object.keys(VIEWS).find((v) => VIEWS[v].includes(signal)) || "Loss";
  byId("column").value = view;
  choose({ view, step, run: run.index });
}

function search(next) {
  const wanted = byId("search").value.toLowerCase(), layers = curves().length ? curves()[0].profile.layers : [];
  const matches = wanted ? layers.flatMap((name, i) => (name.toLowerCase().includes(wanted) ? [i] : [])) : [];
  byId("found").textContent = wanted ? `${matches.length} of ${layers.length}` : "";
  const exact = matches.find((i) => layers[i].toLowerCase() === wanted);
  const at = next ? matches.find((i) => i > (chosen.layer ?? -1)) ?? matches[0] : exact ?? matches[0];
  choose({ matches: matches.length <= 200 ? matches : [], layer: at ?? null });
}

function keys(event) {
  const profile = curves().length && curves()[0].profile, steps = stops(), onMap = event.currentTarget.classList.contains("map");
  const move = { ArrowLeft: onMap ? ["step", -1] : ["layer", -1], ArrowRight: onMap ? ["step", 1] : ["layer", 1], ArrowUp: ["layer", 1], ArrowDown: ["layer", -1], Home: ["layer", -1e9], End: ["layer", 1e9] }[event.key];
  if (!profile || !move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const [what, by] = move, within = (i, count) => Math.min(Math.max(i, 0), count - 1);
  if (what === "layer") choose({ layer: within((chosen.layer ?? (by > 0 ? -1 : profile.layers.length)) + by, profile.layers.length) });
  else choose({ step: steps[within(lastUpTo(steps, chosen.step) + by, steps.length)] });
}

const refill = {
  profile: whenOpen(byId("profile-table"), () => profileTable(curves())),
  series: whenOpen(byId("series-table"), () => seriesTable(VIEWS[chosen.view])),
  cause: whenOpen(byId("cause-table"), () => causeTable(attributions[chosen.run], attributions[chosen.run].frame(chosen.step))),
};

const printing = window.matchMedia("print"), darkness = window.matchMedia("(prefers-color-scheme: dark)");
let wantsDark = null;
function theme() {
  const dark = !printing.matches && (wantsDark ?? darkness.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}
function redraw() {
  theme();
  for (const chart of [profileChart, seriesChart, causeChart, ...[...maps.values()].map((m) => m.chart)]) if (chart) chart.chart.resize();
  choose({ redraw: true });
}

function start() {
  theme();
  document.title = `${runs.map((run) => plain(run.label, 40)).join(", ")}: ${runs[0].verdict}, Gradscope report`;
  showVerdicts(byId("verdict"));
  showFindings(byId("findings-list"), showFinding);
  showComparison(byId("compared"), byId("compared-body"));
  showConfig(byId("config-body"));
  byId("signal").append(...[...signals].map(([id, title]) => element("option", { value: id }, plain(title, 80))));
  byId("column").append(...Object.keys(VIEWS).filter((v) => runs.some((run) => VIEWS[v].some((c) => run.series.has(c)))).map((v) => element("option", { value: v }, v)));
  const explained = runs.filter((run) => attributions[run.index]);
  byId("cause-run").append(...explained.map((run) => element("option", { value: run.index }, plain(run.label, 60))));
  byId("cause-choice").hidden = explained.length < 2;
  byId("gradient").hidden = !signals.size;
  byId("loss").hidden = !runs.some((run) => run.series.size);
  byId("foot").textContent = `Made by Gradscope ${report.version}. ` + runs.map((run) => `${plain(run.label, 40)}: ${recordedBy(run)}`).join("; ") + ". Hold Ctrl and turn the wheel to zoom, drag to move. This file loads nothing.";
  const worst = runs.flatMap((run) => run.findings.map((f) => ({ run, f }))).find(({ f }) => f.show.chart === "profile");
  const last = Math.max(...runs.map((run) => lastFinite(run)), 0);
  const told = worst && attributions[worst.run.index] ? worst.run : explained[0];
  choose({ signal: signals.keys().next().value ?? null, step: last, run: told ? told.index : 0, view: byId("column").value || "Loss", redraw: true });
  byId("nav").append(...[...document.querySelectorAll("main > section[id]:not([hidden])")].filter((s) => s.querySelector("h2")).map((s) => element("a", { href: `#${s.id}` }, s.querySelector("h2").textContent)));
  listen();
}

function recordedBy(run) {
  const when = run.created ? ` ${run.created.slice(0, 16).replace("T", " ")} UTC` : "";
  return run.gradscope ? `recorded${when} by ${run.gradscope}` : `recorded${when}`;
}

// The last frame at which no layer is infinite or NaN; that is what sentences and thresholds speak of.
function lastFinite(run) {
  const profile = run.profiles.get(signals.keys().next().value);
  if (!profile) return 0;
  const count = profile.layers.length, { states } = profile.arrays;
  for (let frame = profile.steps.length - 1; frame >= 0; frame--) {
    if (!states.subarray(frame * count, (frame + 1) * count).some((state) => state >= INF)) return profile.steps[frame];
  }
  return 0;
}

function listen() {
  byId("signal").addEventListener("change", (e) => choose({ signal: e.target.value, layer: null, matches: [] }));
  byId("column").addEventListener("change", (e) => choose({ view: e.target.value }));
  byId("cause-run").addEventListener("change", (e) => choose({ run: Number(e.target.value) }));
  byId("step").addEventListener("input", (e) => choose({ step: stops()[Number(e.target.value)] }));
  byId("search").addEventListener("input", () => search(false));
  byId("search").addEventListener("keydown", (e) => { if (e.key === "Enter") search(true); });
  byId("log").addEventListener("click", () => choose({ log: true }));
  byId("linear").addEventListener("click", () => choose({ log: false }));
  for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => {
    for (const chart of [profileChart, ...[...maps.values()].map((m) => m.chart)]) if (chart) zoomBy(chart.chart, Number(button.dataset.zoom));
  });
  byId("profile").addEventListener("keydown", keys);
  for (const { holder } of maps.values()) holder.addEventListener("keydown", keys);
  byId("theme").addEventListener("click", () => { wantsDark = document.documentElement.dataset.theme !== "dark"; redraw(); });
  darkness.addEventListener("change", redraw);
  printing.addEventListener("change", redraw);
}

start();
