// What pages do by themselves: refresh when something has changed, draw charts, mark rows, ask twice, answer keys.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Refresh: at most every two seconds, never while somebody types or has marked something.
  const main = $("#main");
  let waiting = false, last = 0;
  const busy = () => {
    const active = document.activeElement;
    return (active && main.contains(active) && active.matches("input:not([type=checkbox]), textarea, select"))
      || all("input[name=item]:checked, input[name=dead_letter]:checked, details[open]", main).length > 0;
  };
  const refresh = () => {
    if (waiting || document.hidden) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      last = Date.now();
      if (busy()) return;
      if (main.hasAttribute("data-live")) htmx.trigger(document.body, "refresh");
      all("[data-chart]").forEach(drawChart);
      all("[data-graph]").forEach((box) => holdfastGraph(box));
    }, Math.max(0, 2000 - (Date.now() - last)));
  };
  if (main && $("meta[name=csrf]")) {
    const source = new EventSource("/api/v1/stream");
    source.addEventListener("changed", refresh);
    source.onerror = () => { $("[data-offline]").hidden = false; };
    source.onopen = () => { $("[data-offline]").hidden = true; };
    document.addEventListener("visibilitychange", refresh);
    addEventListener("pagehide", () => source.close());
  }

  // Charts.
  const kinds = {
    items: [["completed", "Completed", "--good"], ["dead", "Dead", "--bad"]],
    failed: [["failed", "Failed attempts", "--warn"]],
  };
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  const charts = new Map();
  async function drawChart(box) {
    let rows;
    try {
      const answer = await fetch(box.dataset.src, { headers: { accept: "application/json", "x-refresh": "1" } });
      if (!answer.ok) return;
      rows = (await answer.json()).series;
    } catch { return; }
    const lines = kinds[box.dataset.chart];
    const data = [rows.map((row) => row.at), ...lines.map(([name]) => rows.map((row) => row[name] || null))];
    const known = charts.get(box);
    if (known) { known.setData(data); return; }
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui" };
    const bars = uPlot.paths.bars({ size: [0.8, 30] });
    const chart = new uPlot({
      width: Math.max(box.clientWidth, 200), height: 170, cursor: { y: false }, legend: { live: true },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { y: { range: (self, low, high) => [0, Math.max(high, 1)] } },
      axes: [{ ...axis, values: (self, splits) => splits.map(clock) }, { ...axis, size: 45, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] }],
      series: [{ label: "UTC", value: (self, at) => (at === null ? "–" : clock(at)) }, ...lines.map(([, label, tone]) => (
        { label, stroke: colour(tone), fill: colour(tone) + "55", paths: bars, points: { show: false } }))],
    }, data, box);
    charts.set(box, chart);
    new ResizeObserver(() => chart.setSize({ width: Math.max(box.clientWidth, 200), height: 170 })).observe(box);
  }
  all("[data-chart]").forEach(drawChart);
  all("[data-graph]").forEach((box) => holdfastGraph(box));

  // Clicks and changes, wherever the page is refreshed.
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-mark-all]")) {
      all("tbody input[type=checkbox]", event.target.closest("table")).forEach((box) => { box.checked = event.target.checked; });
    }
  });
  document.addEventListener("submit", (event) => {
    const sure = event.submitter && event.submitter.dataset.sure;
    if (sure && !confirm(sure)) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-switch]")) {
      const dark = document.documentElement.dataset.theme === "dark"
        || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("holdfast-theme", document.documentElement.dataset.theme);
      location.reload();
    }
    if (event.target.closest("[data-save-filter]")) {
      const text = $(".search input[name=find]").value.trim();
      if (text) localStorage.setItem("holdfast-filters", JSON.stringify([...new Set([text, ...filters()])].slice(0, 12)));
      showFilters();
    }
    const forget = event.target.closest("[data-forget]");
    if (forget) {
      localStorage.setItem("holdfast-filters", JSON.stringify(filters().filter((one) => one !== forget.dataset.forget)));
      showFilters();
    }
  });

  // Saved filters: in this browser.
  const filters = () => { try { return JSON.parse(localStorage.getItem("holdfast-filters")) || []; } catch { return []; } };
  function showFilters() {
    const home = $("[data-saved-filters]");
    if (!home) return;
    home.replaceChildren(...filters().flatMap((text) => {
      const link = document.createElement("a");
      link.href = "/items?find=" + encodeURIComponent(text);
      link.textContent = "★ " + text;
      const gone = document.createElement("button");
      gone.type = "button"; gone.className = "plain"; gone.dataset.forget = text; gone.textContent = "×";
      gone.setAttribute("aria-label", "Forget filter " + text);
      return [link, gone];
    }));
  }
  showFilters();

  // Keys.
  let going = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "/") { const box = $("#find-all"); if (box) { event.preventDefault(); box.focus(); } }
    if (going) {
      const to = { o: "/", i: "/items", d: "/dead", r: "/reviews", a: "/alerts", u: "/audit", b: "/runbooks" }[event.key];
      if (to) location.href = to;
    }
    going = event.key === "g";
  });
})();
