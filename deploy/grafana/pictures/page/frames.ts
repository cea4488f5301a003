// SPDX-License-Identifier: Apache-2.0
// From Prometheus's answers to the data frames that Grafana's panels draw.

import {
  applyFieldOverrides,
  type DataFrame,
  FieldColorModeId,
  type FieldConfigPropertyItem,
  FieldConfigOptionsRegistry,
  type FieldConfigSource,
  FieldType,
  type GrafanaTheme2,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from "@grafana/data";
import { firstValueFrom } from "rxjs";

import type { Answer, Panel, Picture, Series, Target } from "./answers";

export const TIME_ZONE = "utc";

// Panel plugins register these; their packages are not published.
const STANDARD = [
  ...["unit", "min", "max", "decimals", "noValue", "displayName"],
  ...["color", "thresholds", "mappings", "links"],
];
const COLORED_BY_THRESHOLDS = ["stat", "bargauge", "table", "state-timeline"];

function registryOf({ fieldConfig }: Panel): FieldConfigOptionsRegistry {
  const defaults = Object.keys(fieldConfig.defaults.custom ?? {});
  const overrides = fieldConfig.overrides.flatMap(({ properties }) =>
    properties.map(({ id }) => id),
  );
  const custom = overrides.filter((id) => id.startsWith("custom."));
  const names = [...defaults, ...custom.map((id) => id.slice("custom.".length))];
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((name) => property(name, name)),
    ...[...new Set(names)].map((name) => ({
      ...property(`custom.${name}`, name),
      isCustom: true,
    })),
  ]);
}

standardTransformersRegistry.setInit(() =>
  [
    standardTransformers.mergeTransformer,
    standardTransformers.organizeFieldsTransformer,
  ].map((info) => ({
    ...info,
    transformation: () => Promise.resolve(info),
    editor: () => null,
    imageDark: "",
    imageLight: "",
  })),
);

function property(id: string, path: string): FieldConfigPropertyItem {
  return {
    id,
    path,
    name: id,
    editor: () => null,
    override: () => null,
    process: identityOverrideProcessor,
    shouldApply: () => true,
  };
}

export async function framesOf(
  picture: Picture,
  panel: Panel,
  theme: GrafanaTheme2,
): Promise<DataFrame[]> {
  const raw = panel.targets.flatMap((target) => {
    const answer = picture.answers[panel.id][target.refId];
    return framesOfTarget(answer, target, panel.targets.length, picture.stepSeconds);
  });
  const context = { interpolate: (text: string) => text };
  const data = await firstValueFrom(
    transformDataFrame(panel.transformations ?? [], raw, context),
  );
  return applyFieldOverrides({
    data,
    fieldConfig: withColor(panel),
    fieldConfigRegistry: registryOf(panel),
    replaceVariables: (text) => text,
    theme,
    timeZone: TIME_ZONE,
  });
}

export function withColor({ type, fieldConfig }: Panel): FieldConfigSource {
  const mode = COLORED_BY_THRESHOLDS.includes(type)
    ? FieldColorModeId.Thresholds
    : FieldColorModeId.PaletteClassic;
  const defaults = { color: { mode }, ...fieldConfig.defaults };
  return { ...fieldConfig, defaults };
}

function framesOfTarget(
  answer: Answer,
  target: Target,
  targets: number,
  stepSeconds: number,
): DataFrame[] {
  if (target.format === "table") {
    return [tableFrame(answer, target, targets)];
  }
  const series =
    target.format === "heatmap" ? inBuckets(answer.series) : answer.series;
  return series.map(({ labels, values }) =>
    toDataFrame({
      refId: target.refId,
      fields: [
        {
          name: "Time",
          type: FieldType.time,
          config: { interval: 1000 * stepSeconds },
          values: values.map(([seconds]) => 1000 * seconds),
        },
        {
          name: "Value",
          type: FieldType.number,
          labels,
          config: { displayNameFromDS: legend(target.legendFormat, labels) },
          values: values.map(([, value]) => Number(value)),
        },
      ],
    }),
  );
}

function tableFrame(answer: Answer, target: Target, targets: number): DataFrame {
  const names = [...new Set(answer.series.flatMap((row) => Object.keys(row.labels)))];
  const last = answer.series.map((row) => row.values[row.values.length - 1]);
  const labels = names.sort().map((name) => ({
    name,
    type: FieldType.string,
    values: answer.series.map((row) => row.labels[name] ?? ""),
  }));
  const time = {
    name: "Time",
    type: FieldType.time,
    values: last.map(([seconds]) => 1000 * seconds),
  };
  const value = {
    name: targets > 1 ? `Value #${target.refId}` : "Value",
    type: FieldType.number,
    values: last.map(([, figure]) => Number(figure)),
  };
  return toDataFrame({ refId: target.refId, fields: [time, ...labels, value] });
}

/** Take from each bucket the one below it, as Prometheus's are cumulative. */
function inBuckets(series: Series[]): Series[] {
  const edge = (each: Series) => Number(each.labels.le.replace("+Inf", "Infinity"));
  const sorted = [...series].sort((one, other) => edge(one) - edge(other));
  return sorted.map((each, index) => {
    const below = new Map(index ? sorted[index - 1].values : []);
    const values = each.values.map(([seconds, value]): [number, string] => {
      const own = Number(value) - Number(below.get(seconds) ?? 0);
      return [seconds, String(Math.max(0, own))];
    });
    return { ...each, values };
  });
}

function legend(format: string, labels: Record<string, string>): string {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? "");
}
