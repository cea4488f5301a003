// SPDX-License-Identifier: Apache-2.0
// What `draw.py` hands over: a dashboard, and what Prometheus answered to it.

import type { FieldConfigSource } from "@grafana/data";

export interface Series {
  labels: Record<string, string>;
  values: Array<[seconds: number, value: string]>;
}

export interface Exemplar {
  seconds: number;
  value: number;
}

export interface Answer {
  series: Series[];
  exemplars: Exemplar[];
}

export interface Mark {
  color: string;
  from: number;
  to: number;
}

export interface Target {
  refId: string;
  format: "time_series" | "table" | "heatmap";
  instant: boolean;
  legendFormat: string;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  // Each kind of panel has its own.
  options: any;
  fieldConfig: FieldConfigSource;
  targets: Target[];
  transformations?: Array<{ id: string; options: unknown }>;
}

export interface Picture {
  title: string;
  caption: string;
  panels: Panel[];
  chosen: Array<{ label: string; value: string }>;
  range: { from: number; to: number };
  stepSeconds: number;
  answers: Record<string, Record<string, Answer>>;
  marks: Mark[];
}
