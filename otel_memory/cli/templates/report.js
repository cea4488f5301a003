// SPDX-License-Identifier: Apache-2.0
// Draws the charts and makes the tables sortable and searchable. Text from the
// recording is only ever set as text; what goes to Plotly, which reads a part of HTML,
// is escaped.
"use strict";
(() => {
  const ROWS_AT_FIRST = 10;
  const ROWS_TO_SEARCH = 6;
  const FLAME_ROW_PX = 24;
  const FLAME_PAD_PX = 10;
  const FLAME_NARROW_PX = 24;
  const PRINT_WIDTH_PX = 680;

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  root.classList.add("has-script");

  // ---- tables

  function sortValue(row, index, isFigure) {
    const value = row.cells[index].dataset.value;
    if (value === undefined) return null;
    return isFigure ? Number(value) : value;
  }

  function compare(one, other, direction) {
    if (one === null || other === null) return (one === null) - (other === null);
    const order = typeof one === "number" ? one - other : one.localeCompare(other);
    return order * direction;
  }

  function enhance(table) {
    const body = table.tBodies[0];
    const headers = [...table.tHead.rows[0].cells];
    const box = table.closest("section");
    const state = { text: "", all: false };

    const show = () => {
      let matching = 0;
      let shown = 0;
      for (const row of body.rows) {
        const isMatch = row.textContent.toLowerCase().includes(state.text);
        matching += isMatch;
        row.hidden = !isMatch || !(state.all || shown < ROWS_AT_FIRST);
        shown += !row.hidden;
      }
      more.hidden = shown === matching;
      more.textContent = `Show all ${matching}`;
      const isPart = shown < body.rows.length;
      count.textContent = isPart ? `${shown} of ${body.rows.length} rows` : "";
    };
    const more = make("button", { type: "button", className: "more" });
    const count = make("span");
    count.setAttribute("aria-live", "polite");
    more.addEventListener("click", () => { state.all = true; show(); });
    box.append(make("div", { className: "under" }, more, count));

    headers.forEach((header, index) => {
      const isFigure = header.classList.contains("figure");
      const button = make("button", { type: "button" }, header.textContent);
      header.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = isFigure ? "descending" : "ascending";
        const second = isFigure ? "ascending" : "descending";
        const wanted = header.getAttribute("aria-sort") === first ? second : first;
        for (const other of headers) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", wanted);
        const direction = wanted === "ascending" ? 1 : -1;
        const rows = [...body.rows].map((row) => [sortValue(row, index, isFigure), row]);
        rows.sort((one, other) => compare(one[0], other[0], direction));
        body.append(...rows.map(([, row]) => row));
        show();
      });
    });
    const sorted = headers[table.dataset.sort || -1];
    if (sorted) sorted.setAttribute("aria-sort", "descending");

    if (body.rows.length >= ROWS_TO_SEARCH) {
      const input = make("input", { type: "search", placeholder: "Search" });
      input.setAttribute("aria-label", `Search in ${box.querySelector("h2").textContent}`);
      input.addEventListener("input", () => {
        state.text = input.value.trim().toLowerCase();
        show();
      });
      box.querySelector(".above").append(make("label", { className: "control" }, input));
    }
    show();
  }

  function addCopyButton(place) {
    const code = place.querySelector("code");
    const button = make("button", { type: "button", textContent: "copy" });
    button.setAttribute("aria-label", `Copy ${place.querySelector(".label").textContent} id`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    place.append(button);
  }

  document.querySelectorAll("table").forEach(enhance);
  document.querySelectorAll(".copy").forEach(addCopyButton);

  // ---- charts

  const charts = JSON.parse(byId("charts").textContent);
  const config = { displayModeBar: false, responsive: false };
  let printWidth = null;

  // Plotly knows no style sheet's variables.
  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("var(")) {
      return style.getPropertyValue(value.slice(4, -1)).trim();
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [key, coloured(each, style)]),
    );
  }

  function draw(place, figure, changes = {}) {
    const style = getComputedStyle(root);
    const layout = coloured(figure.layout, style);
    layout.font.family = getComputedStyle(document.body).fontFamily;
    // A finger that wants to scroll must not draw a zoom box.
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
    layout.width = printWidth ?? place.clientWidth;
    layout.height = changes.height ?? place.clientHeight;
    const data = coloured(figure.data, style);
    Object.assign(data[0], changes.trace);
    return Plotly.react(place, data, layout, config);
  }

  const whichProcess = byId("which-process");
  function drawProcess() {
    const chosen = charts.processes[whichProcess.selectedIndex];
    byId("note-process").textContent = chosen.figure.note;
    draw(byId("chart-process"), chosen.figure);
  }
  if (charts.processes.length) {
    whichProcess.append(...charts.processes.map((each) => make("option", {}, each.label)));
    whichProcess.parentElement.hidden = charts.processes.length < 2;
    whichProcess.addEventListener("change", drawProcess);
  }

  const flameBy = byId("flame-by");
  const flameName = byId("flame-name");
  const flame = { opened: 0, children: [] };
  const pen = document.createElement("canvas").getContext("2d");
  const escaped = (text) => text
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll("%", "&#37;");

  function fitted(text, width) {
    if (width < 18) return "";
    if (pen.measureText(text).width <= width) return text;
    let low = 0;
    let high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      const fits = pen.measureText(text.slice(0, middle) + "…").width <= width;
      if (fits) low = middle; else high = middle - 1;
    }
    return low < 2 ? "" : text.slice(0, low) + "…";
  }

  function chooseTree() {
    const { data: [trace], choices } = charts.flame[flameBy.value];
    flame.children = trace.ids.map(() => []);
    trace.parents.forEach((parent, index) => {
      if (parent !== "") flame.children[parent].push(index);
    });
    flameName.replaceChildren(
      make("option", { value: 0 }, "all"),
      ...choices.map(([index, name, size]) => make("option", { value: index }, `${name} (${size})`)),
    );
    flame.opened = 0;
  }

  function drawFlame() {
    const figure = charts.flame[flameBy.value];
    const place = byId("chart-flame");
    const trace = figure.data[0];
    const pxPerByte = (printWidth ?? place.clientWidth) / trace.values[flame.opened];
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const text = trace.ids.map(() => "");
    // A thin stack may be many times as deep as what matters; it can be opened.
    const isWide = (index) => trace.values[index] * pxPerByte >= FLAME_NARROW_PX;
    let depth = 0;
    for (let level = [flame.opened]; level.some(isWide); depth += 1) {
      for (const index of level) {
        const room = trace.values[index] * pxPerByte - FLAME_PAD_PX;
        text[index] = escaped(fitted(figure.names[index], room));
      }
      level = level.flatMap((index) => flame.children[index]);
    }
    flameName.value = flame.opened;
    if (flameName.selectedIndex < 0) flameName.value = 0;
    draw(place, figure, {
      height: depth * FLAME_ROW_PX,
      trace: {
        text,
        level: String(flame.opened),
        maxdepth: depth,
        textfont: { size: 12, color: getComputedStyle(root).getPropertyValue("--ink") },
      },
    });
  }

  if (charts.flame.span) {
    chooseTree();
    flameBy.addEventListener("change", () => { chooseTree(); drawFlame(); });
    flameName.addEventListener("change", () => {
      flame.opened = Number(flameName.value);
      drawFlame();
    });
  }

  function drawAll() {
    if (charts.processes.length) drawProcess();
    if (charts.live) draw(byId("chart-live"), charts.live);
    if (charts.flame.span) drawFlame();
  }

  drawAll();
  if (charts.flame.span) {
    byId("chart-flame").on("plotly_icicleclick", (event) => {
      const index = Number(event.points[0].id);
      const parent = charts.flame[flameBy.value].data[0].parents[index];
      const isOpen = index === flame.opened;
      if (!isOpen || parent !== "") {
        flame.opened = isOpen ? Number(parent) : index;
        // Not while Plotly still handles the click.
        setTimeout(drawFlame);
      }
      return false;
    });
  }

  let drawnWidth = innerWidth;
  addEventListener("resize", () => {
    // A phone's address bar that hides itself changes the height alone.
    if (innerWidth !== drawnWidth) { drawnWidth = innerWidth; drawAll(); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    printWidth = PRINT_WIDTH_PX;
    drawAll();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    printWidth = null;
    drawAll();
  });
})();
