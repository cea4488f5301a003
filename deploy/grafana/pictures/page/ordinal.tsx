// SPDX-License-Identifier: Apache-2.0
// Stand-ins for the heatmap and the state timeline, whose plugins are not published:
// rows over time, on the plot and the axes of @grafana/ui.

import {
  type DataFrame,
  type Field,
  FieldType,
  getFieldDisplayName,
  getValueFormat,
  formattedValueToString,
  type GrafanaTheme2,
} from "@grafana/data";
import {
  AxisPlacement,
  PointVisibility,
  ScaleDirection,
  ScaleOrientation,
  UPlotChart,
  UPlotConfigBuilder,
  useTheme2,
} from "@grafana/ui";
import { interpolateOranges } from "d3-scale-chromatic";
import { useMemo } from "react";
import type uPlot from "uplot";

import type { Exemplar, Panel, Picture } from "./answers";
import { TIME_ZONE } from "./frames";
import { drawExemplars, leaveRoom } from "./marks";

interface Props {
  picture: Picture;
  panel: Panel;
  frames: DataFrame[];
  width: number;
  height: number;
}

interface Axis {
  splits: number[];
  text: (split: number) => string;
}

function valueField(frame: DataFrame): Field<number> {
  return frame.fields.find((field) => field.type === FieldType.number)!;
}

function timesOf(frame: DataFrame): number[] {
  return frame.fields.find((field) => field.type === FieldType.time)!.values;
}

function useChart(
  { picture, width, height }: Props,
  rows: number,
  axis: Axis,
  paint: (plot: uPlot) => void,
) {
  const theme = useTheme2();
  const config = useMemo(() => {
    const { from, to } = picture.range;
    const builder = new UPlotConfigBuilder(TIME_ZONE);
    leaveRoom(builder);
    builder.addScale({
      scaleKey: "x",
      isTime: true,
      orientation: ScaleOrientation.Horizontal,
      direction: ScaleDirection.Right,
      range: [1000 * from, 1000 * to],
    });
    builder.addScale({
      scaleKey: "y",
      orientation: ScaleOrientation.Vertical,
      direction: ScaleDirection.Up,
      range: [0, rows],
    });
    builder.addAxis({
      scaleKey: "x",
      isTime: true,
      placement: AxisPlacement.Bottom,
      timeZone: TIME_ZONE,
      theme,
    });
    builder.addAxis({
      scaleKey: "y",
      placement: AxisPlacement.Left,
      theme,
      splits: axis.splits,
      values: (_, splits) => splits.map(axis.text),
      grid: { show: false },
      ticks: { show: false },
    });
    builder.addSeries({
      scaleKey: "y",
      theme,
      showPoints: PointVisibility.Never,
      pathBuilder: () => null,
    });
    builder.addHook("draw", (plot) => {
      plot.ctx.save();
      paint(plot);
      plot.ctx.restore();
    });
    return builder;
  }, [width, height]);
  const ends = [1000 * picture.range.from, 1000 * picture.range.to];
  return <UPlotChart config={config} data={[ends, [0, 0]]} {...{ width, height }} />;
}

export function Timeline(props: Props) {
  const theme = useTheme2();
  const { picture, panel, frames } = props;
  // The first one is at the top.
  const rows = [...frames].reverse();
  const name = (row: number) => getFieldDisplayName(valueField(rows[row]), rows[row]);
  const axis = {
    splits: rows.map((_, row) => row + 0.5),
    text: (split: number) => name(split - 0.5),
  };
  return useChart(props, rows.length, axis, (plot) => {
    const { ctx, valToPos } = plot;
    ctx.font = `12px ${theme.typography.fontFamily}`;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    const rowTall = valToPos(0, "y", true) - valToPos(1, "y", true);
    const tall = panel.options.rowHeight * rowTall;
    const end = plot.bbox.left + plot.bbox.width;
    rows.forEach((frame, row) => {
      const field = valueField(frame);
      const middle = valToPos(row + 0.5, "y", true);
      for (const { from, to, value } of runs(frame, picture.stepSeconds)) {
        const { color, text } = field.display!(value);
        const left = valToPos(from, "x", true);
        const wide = Math.min(valToPos(to, "x", true), end) - left;
        ctx.globalAlpha = panel.fieldConfig.defaults.custom.fillOpacity / 100;
        ctx.fillStyle = color ?? theme.colors.text.disabled;
        ctx.fillRect(left, middle - tall / 2, wide, tall);
        ctx.globalAlpha = 1;
        ctx.fillStyle = theme.colors.getContrastText(color ?? "#888", 2);
        if (ctx.measureText(text).width + 8 < wide) {
          ctx.fillText(text, left + 4, middle);
        }
      }
    });
  });
}

/** Join equal values that follow one another. */
function runs(frame: DataFrame, stepSeconds: number) {
  const joined: Array<{ from: number; to: number; value: number }> = [];
  const { values } = valueField(frame);
  timesOf(frame).forEach((time, index) => {
    const last = joined[joined.length - 1];
    const to = time + 1000 * stepSeconds;
    if (last && last.value === values[index] && time <= last.to) {
      last.to = to;
    } else {
      joined.push({ from: time, to, value: values[index] });
    }
  });
  return joined;
}

export function Heatmap(props: Props) {
  const theme = useTheme2();
  const { picture, panel, frames } = props;
  const { options } = panel;
  const format = getValueFormat(options.yAxis.unit);
  const edges = frames.map((frame) => Number(valueField(frame).labels!.le));
  const axis = {
    splits: edges.map((_, row) => row + 1).filter((top) => isFinite(edges[top - 1])),
    text: (split: number) => formattedValueToString(format(edges[split - 1])),
  };
  const highest = Math.max(...frames.flatMap((frame) => valueField(frame).values));
  const exemplars = exemplarsOf(picture, panel);
  const plotted = useChart(
    { ...props, height: props.height - LEGEND_PIXELS },
    frames.length,
    axis,
    (plot) => {
      const { ctx, valToPos } = plot;
      const step = 1000 * picture.stepSeconds;
      const wide = valToPos(step, "x", true) - valToPos(0, "x", true);
      const tall = valToPos(0, "y", true) - valToPos(1, "y", true);
      const gap = options.cellGap;
      frames.forEach((frame, row) => {
        const times = timesOf(frame);
        valueField(frame).values.forEach((value, index) => {
          // Grafana has the time at the end of what a cell counts.
          const right = valToPos(times[index], "x", true);
          const left = Math.max(right - wide, plot.bbox.left);
          if (value > options.filterValues.le && right > left) {
            ctx.fillStyle = shade(value / highest, options.color.exponent, theme);
            const top = valToPos(row + 1, "y", true);
            ctx.fillRect(left, top + gap, right - left - gap, tall - gap);
          }
        });
      });
      drawExemplars(plot, exemplars, (value) =>
        valToPos(rowOf(value, edges), "y", true),
      );
    },
  );
  const unit = getValueFormat(options.cellValues.unit);
  return (
    <div>
      {plotted}
      <Legend
        highest={formattedValueToString(unit(highest))}
        colors={[0, 0.25, 0.5, 0.75, 1].map((share) => shade(share, 1, theme))}
      />
    </div>
  );
}

const LEGEND_PIXELS = 24;

function Legend({ highest, colors }: { highest: string; colors: string[] }) {
  const theme = useTheme2();
  const background = `linear-gradient(to right, ${colors.join(", ")})`;
  return (
    <div
      style={{
        display: "flex",
        alignItems: "center",
        gap: 6,
        paddingLeft: 60,
        height: LEGEND_PIXELS,
        fontSize: 12,
        color: theme.colors.text.secondary,
      }}
    >
      0<div style={{ background, width: 200, height: 8 }} />
      {highest}
    </div>
  );
}

function shade(share: number, exponent: number, theme: GrafanaTheme2): string {
  const lightness = share ** exponent;
  return interpolateOranges(theme.isDark ? 1 - lightness : lightness);
}

/** Find the place of a value within the rows, whose edges grow by factors. */
function rowOf(value: number, edges: number[]): number {
  const row = edges.findIndex((edge) => value <= edge);
  const [low, high] = [edges[row - 1], edges[row]];
  if (row < 1 || !isFinite(high)) {
    return row + 0.5;
  }
  return row + Math.log(value / low) / Math.log(high / low);
}

export function exemplarsOf(picture: Picture, panel: Panel): Exemplar[] {
  return panel.targets.flatMap(
    (target) => picture.answers[panel.id][target.refId].exemplars,
  );
}
