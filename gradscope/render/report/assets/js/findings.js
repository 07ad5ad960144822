// Verdicts and findings: first what is wrong, then by which numbers, and a link to where each shows.

const SIGNS = { healthy: "✓", pathological: "✗", inconclusive: "?" };

function showVerdicts(holder) {
  const verdicts = runs.map((run) => element("div", { class: "verdict" },
    element("div", { class: `said ${run.verdict}` }, `${SIGNS[run.verdict]} ${run.verdict}`),
    element("div", { class: "of" }, plain(run.label)),
    element("div", { class: "quiet small" }, run.facts.join(", "))));
  holder.replaceChildren(element("div", { class: runs.length > 1 ? "verdicts several" : "verdicts" }, ...verdicts));
}

function showFindings(holder, show) {
  const several = runs.length > 1;
  const listed = runs.flatMap((run) => run.findings.map((finding) => findingCard(run, finding, several, show)));
  const nothing = runs.some((run) => run.steps) ? "Nothing was found." : "No step was recorded: there is nothing to judge.";
  holder.replaceChildren(...(listed.length ? listed : [element("p", { class: "quiet" }, nothing)]));
}

function findingCard(run, finding, several, show) {
  const facts = finding.facts.map(([name, text]) => [name, plain(text)]);
  facts.push(...finding.remedies.map((remedy, i) => [i ? "" : "try", ...told(remedy)]));
  const where = finding.show.chart === "profile" ? "gradient" : "loss";
  const link = element("a", { href: `#${where}`, class: "show small", onclick: () => show(run, finding) }, "show where");
  return element("article", { class: `finding ${finding.severity}`, "aria-label": `${finding.severity} ${finding.code}` },
    element("div", { class: "head" },
      element("strong", { class: finding.severity }, `${finding.severity} ${finding.code} ${finding.rule}`),
      element("span", { class: "quiet" }, `${several ? `${plain(run.label, 40)}, ` : ""}confidence ${finding.confidence}`),
      link),
    element("p", { class: "message" }, plain(finding.message)),
    element("dl", {}, ...facts.flatMap(([name, ...parts]) => [element("dt", {}, name), element("dd", {}, ...parts)])));
}

// A remedy: what to do in words, and under it the lines of code that do it, if it has any.
function told(remedy) {
  const [words, ...lines] = remedy.split("\n");
  const code = lines.map((line) => plain(line.replace(/^ {4}/, ""))).join("\n");
  return lines.length ? [plain(words), element("pre", {}, code)] : [plain(words)];
}
