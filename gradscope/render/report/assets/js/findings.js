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
  holder.replaceChildren(...(listed.length ? listed : [element("p", { class: "quiet" }, "Nothing was found: every rule was asked, and none had anything to say.")]));
}

function findingCard(run, finding, several, show) {
  const facts = [...finding.facts, ...finding.remedies.map((remedy, i) => [i ? "" : "try", remedy])];
  const where = finding.show.chart === "profile" ? "gradient" : "loss";
  const link = element("a", { href: `#${where}`, class: "show small", onclick: () => show(run, finding) }, "show where");
  return element("article", { class: `finding ${finding.severity}`, "aria-label": `${finding.severity} ${finding.code}` },
    element("div", { class: "head" },
      element("strong", { class: finding.severity }, `${finding.severity} ${finding.code} ${finding.rule}`),
      element("span", { class: "quiet" }, `${several ? `${plain(run.label, 40)}, ` : ""}confidence ${finding.confidence}`),
      link),
    element("p", { class: "message" }, plain(finding.message)),
    element("dl", {}, ...facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, plain(text))])));
}
