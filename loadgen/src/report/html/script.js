"use strict";
// Shows the values nearest to the pointer. The page is complete without it.
(() => {
  const svgns = "http://www.w3.org/2000/svg";
  let plots = 0;
  for (const figure of document.querySelectorAll("figure.plot")) {
    plots += Number(figure.dataset.points) > 0 ? 1 : 0;
    const script = figure.querySelector("script");
    const svg = figure.querySelector("svg");
    const hover = figure.querySelector(".hover");
    if (!script || !hover) continue;
    const lines = JSON.parse(script.textContent);
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    figure.append(tip);
    const hide = () => { tip.hidden = true; hover.replaceChildren(); };
    const show = (event) => {
      const box = svg.getBoundingClientRect();
      const view = svg.viewBox.baseVal;
      const x = (event.clientX - box.left) / box.width * view.width;
      hover.replaceChildren();
      const rows = [];
      let title = "", at = 0;
      for (const line of lines) {
        let best = line.points[0];
        for (const p of line.points) if (Math.abs(p[0] - x) < Math.abs(best[0] - x)) best = p;
        if (!best) continue;
        title = title || best[2];
        at = at || best[0];
        const dot = document.createElementNS(svgns, "circle");
        dot.setAttribute("class", "c" + line.color);
        dot.setAttribute("cx", best[0]);
        dot.setAttribute("cy", best[1]);
        dot.setAttribute("r", 3);
        hover.append(dot);
        const row = document.createElement("div");
        const name = document.createElement("span");
        name.className = "c" + line.color;
        name.textContent = line.name + " ";
        row.append(name, best[3]);
        rows.push(row);
      }
      const rule = document.createElementNS(svgns, "line");
      for (const [k, v] of [["x1", at], ["x2", at], ["y1", 10], ["y2", view.height - 34]]) {
        rule.setAttribute(k, v);
      }
      hover.prepend(rule);
      tip.replaceChildren(title, ...rows);
      tip.hidden = false;
      const left = event.clientX - figure.getBoundingClientRect().left;
      const room = figure.clientWidth - tip.offsetWidth - 8;
      tip.style.left = Math.max(4, Math.min(left + 14, room)) + "px";
      tip.style.top = "56px";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerleave", hide);
    // Once for every chart, so that a mistake in it shows when the page is opened.
    const box = svg.getBoundingClientRect();
    show({ clientX: box.left + box.width / 2 });
    hide();
  }
  document.documentElement.dataset.plots = String(plots);
})();
