// SPDX-License-Identifier: Apache-2.0
// Annotations and exemplars over a time series, which Grafana's plugin would draw.

import { colorManipulator, type GrafanaTheme2 } from "@grafana/data";
import type { UPlotConfigBuilder } from "@grafana/ui";
import type uPlot from "uplot";

import type { Exemplar, Mark } from "./answers";

const EXEMPLAR = "rgba(255,0,255,0.7)";
const BAR_PIXELS = 5;
const LABEL_PIXELS = 36;

const drawn = new WeakSet<UPlotConfigBuilder>();

export function drawMarks(
  builder: UPlotConfigBuilder,
  theme: GrafanaTheme2,
  marks: Mark[],
  exemplars: Exemplar[],
): void {
  if (drawn.has(builder)) {
    return;
  }
  drawn.add(builder);
  leaveRoom(builder);
  builder.addHook("draw", (plot: uPlot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + BAR_PIXELS);
    ctx.clip();
    for (const mark of marks) {
      drawMark(plot, mark, theme.visualization.getColorByName(mark.color));
    }
    drawExemplars(plot, exemplars);
    ctx.restore();
  });
}

/** Leave room on the right, for the last label of the axis of time. */
export function leaveRoom(builder: UPlotConfigBuilder): void {
  builder.setPadding([null, LABEL_PIXELS / 2, null, null]);
}

function drawMark({ ctx, bbox, valToPos }: uPlot, mark: Mark, color: string): void {
  const from = valToPos(1000 * mark.from, "x", true);
  const to = valToPos(1000 * mark.to, "x", true);
  ctx.strokeStyle = color;
  ctx.lineWidth = 1;
  ctx.setLineDash([5, 5]);
  for (const x of to > from ? [from, to] : [from]) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.fillStyle = colorManipulator.alpha(color, 0.1);
  ctx.fillRect(from, bbox.top, to - from, bbox.height);
  ctx.fillStyle = color;
  const width = Math.max(to - from, BAR_PIXELS);
  ctx.fillRect(to > from ? from : from - width / 2, bbox.top + bbox.height, width, 5);
}

export function drawExemplars(
  { ctx, valToPos, series }: uPlot,
  exemplars: Exemplar[],
  position = (value: number) => valToPos(value, series[1].scale ?? "y", true),
): void {
  ctx.fillStyle = EXEMPLAR;
  for (const { seconds, value } of exemplars) {
    const x = valToPos(1000 * seconds, "x", true);
    const y = position(value);
    ctx.beginPath();
    ctx.moveTo(x, y - 4);
    ctx.lineTo(x + 4, y);
    ctx.lineTo(x, y + 4);
    ctx.lineTo(x - 4, y);
    ctx.fill();
  }
}
