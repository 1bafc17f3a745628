// A pipeline's graph: laid out by dagre, drawn as SVG, with the counts of the last hour and of now.
"use strict";
window.holdfastGraph = (() => {
  const NS = "http://www.w3.org/2000/svg", WIDTH = 186, HEIGHT = 52;
  const element = (name, attributes, text) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);

  function layout(data) {
    const graph = new dagre.graphlib.Graph({ compound: true });
    graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 42, marginx: 12, marginy: 12 });
    graph.setDefaultEdgeLabel(() => ({}));
    graph.setNode("payload", { width: 74, height: 30 });
    for (const body of data.bodies) graph.setNode(body.id, {});
    for (const node of data.nodes) {
      const small = node.kind === "result" || !["step", "review", "wait", "child", "emit"].includes(node.kind);
      graph.setNode(node.id, { width: small ? 84 : WIDTH, height: small ? 30 : HEIGHT });
    }
    for (const body of data.bodies) if (body.parent) graph.setParent(body.id, body.parent);
    for (const node of data.nodes) if (node.parent) graph.setParent(node.id, node.parent);
    for (const edge of data.edges) if (graph.hasNode(edge.from) && graph.hasNode(edge.to)) graph.setEdge(edge.from, edge.to);
    dagre.layout(graph);
    return graph;
  }

  function draw(box, data) {
    const graph = layout(data), size = graph.graph();
    const points = graph.edges().flatMap((edge) => graph.edge(edge).points);  // some lead around everything else
    const left = Math.floor(Math.min(0, ...points.map((p) => p.x - 8))), top = Math.floor(Math.min(0, ...points.map((p) => p.y - 8)));
    const width = Math.ceil(Math.max(size.width, ...points.map((p) => p.x + 8))) - left;
    const height = Math.ceil(Math.max(size.height, ...points.map((p) => p.y + 8))) - top;
    const svg = element("svg", { viewBox: `${left} ${top} ${width} ${height}`, width, height });
    const marker = element("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
    marker.append(element("path", { d: "M0 0L8 4L0 8z", class: "arrow" }));
    const defs = element("defs", {});
    defs.append(marker);
    svg.append(defs);
    for (const body of data.bodies) {
      const at = graph.node(body.id);
      if (!at || !at.width) continue;
      svg.append(element("rect", { x: at.x - at.width / 2, y: at.y - at.height / 2, width: at.width, height: at.height, rx: 8, class: "body" }));
      if (body.title) svg.append(element("text", { x: at.x - at.width / 2 + 8, y: at.y - at.height / 2 + 14, class: "case" }, short(body.title, 28)));
    }
    for (const edge of graph.edges()) {
      const points = graph.edge(edge).points;
      svg.append(element("path", { d: "M" + points.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join("L"), class: "edge", "marker-end": "url(#arrow)" }));
    }
    const texts = new Map();
    for (const node of [{ id: "payload", title: "payload", kind: "payload" }, ...data.nodes]) {
      const at = graph.node(node.id), group = element("g", { class: `node ${node.kind}`, transform: `translate(${at.x - at.width / 2} ${at.y - at.height / 2})` });
      group.append(element("title", {}, node.name || node.title));
      const frame = element("rect", { width: at.width, height: at.height, rx: at.height > 40 ? 8 : 15, class: "frame" });
      group.append(frame);
      if (at.height > 40) {
        group.append(element("text", { x: 10, y: 20, class: "name" }, short(node.title, 20)));
        const counts = element("text", { x: 10, y: 39, class: "counts" });
        group.append(counts);
        texts.set(node.id, { counts, frame });
      } else {
        group.append(element("text", { x: at.width / 2, y: at.height / 2 + 4, class: "name", "text-anchor": "middle" }, short(node.title, 12)));
      }
      svg.append(group);
    }
    if (width <= 2.2 * box.clientWidth) svg.classList.add("fit");
    box.replaceChildren(svg);
    return texts;
  }

  const known = new WeakMap();
  return async (box) => {
    let data;
    try {
      const answer = await fetch(box.dataset.graph, { headers: { accept: "application/json", "x-refresh": "1" } });
      if (!answer.ok) return;
      data = await answer.json();
    } catch { return; }
    let seen = known.get(box);
    if (!seen || seen.version !== data.version) {
      seen = { version: data.version, texts: draw(box, data) };
      known.set(box, seen);
    }
    for (const node of data.nodes) {
      const text = seen.texts.get(node.id);
      if (!text) continue;
      const now = [];
      if (node.running) now.push(`${node.running} run`);
      if (node.ready) now.push(`${node.ready} ready`);
      if (node.retrying) now.push(`${node.retrying} retry`);
      if (node.waiting) now.push(`${node.waiting} wait`);
      text.counts.textContent = now.length ? now.join(" · ") : `${node.ended.toLocaleString()} / h`;
      text.frame.setAttribute("class", "frame" + (node.dead ? " bad" : "") + (now.length ? " busy" : ""));
      if (node.dead) text.counts.textContent += ` · ${node.dead} dead`;
    }
  };
})();
