// SPDX-License-Identifier: Apache-2.0
// The kinds of panel that our dashboards use, by components of @grafana/ui.

import {
  type DataFrame,
  dateTime,
  type FieldDisplay,
  FieldType,
  getDisplayProcessor,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type TimeRange,
} from "@grafana/data";
import {
  BarGauge,
  BigValue,
  Table,
  TimeSeries,
  useTheme2,
  VizRepeater,
} from "@grafana/ui";
import type { ComponentType } from "react";

import type { Panel, Picture } from "./answers";
import { TIME_ZONE, withColor } from "./frames";
import { drawMarks } from "./marks";
import { exemplarsOf, Heatmap, Timeline } from "./ordinal";

export interface Props {
  picture: Picture;
  panel: Panel;
  frames: DataFrame[];
  width: number;
  height: number;
}

export const KINDS: Record<string, ComponentType<Props>> = {
  timeseries: Lines,
  stat: Numbers,
  bargauge: Gauges,
  table: Rows,
  heatmap: Heatmap,
  "state-timeline": Timeline,
};

/** Kinds that say themselves that there is nothing. */
export const SAYS_NOTHING = ["stat", "table"];

function Lines({ picture, panel, frames, width, height }: Props) {
  const theme = useTheme2();
  return (
    <TimeSeries
      {...{ frames, width, height }}
      timeRange={rangeOf(picture)}
      timeZone={TIME_ZONE}
      legend={panel.options.legend}
    >
      {(builder) => {
        drawMarks(builder, theme, picture.marks, exemplarsOf(picture, panel));
        return null;
      }}
    </TimeSeries>
  );
}

function rangeOf(picture: Picture): TimeRange {
  const from = dateTime(1000 * picture.range.from);
  const to = dateTime(1000 * picture.range.to);
  return { from, to, raw: { from, to } };
}

function useValues({ panel, frames }: Props): () => FieldDisplay[] {
  const theme = useTheme2();
  return () =>
    getFieldDisplayValues({
      data: frames,
      reduceOptions: panel.options.reduceOptions,
      fieldConfig: withColor(panel),
      replaceVariables: (text) => text,
      theme,
      timeZone: TIME_ZONE,
    });
}

function Numbers(props: Props) {
  const theme = useTheme2();
  const { panel, width, height, frames } = props;
  const { options } = panel;
  return (
    <VizRepeater
      {...{ width, height }}
      getValues={useValues(props)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      renderCounter={0}
      autoGrid
      orientation={options.orientation}
      renderValue={({ value, width, height, count, alignmentFactors }) => (
        <BigValue
          {...{ theme, width, height, count, alignmentFactors }}
          value={value.display}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
        />
      )}
    />
  );
}

function Gauges(props: Props) {
  const theme = useTheme2();
  const { panel, width, height, frames } = props;
  const { options } = panel;
  return (
    <VizRepeater
      {...{ width, height }}
      getValues={useValues(props)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      renderCounter={0}
      orientation={options.orientation}
      itemSpacing={8}
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      renderValue={({ value, width, height, orientation, alignmentFactors }) => (
        <BarGauge
          {...{ theme, width, height, orientation, alignmentFactors }}
          value={value.display}
          field={value.field}
          display={getDisplayProcessor({
            field: { config: value.field, type: FieldType.number },
            theme,
          })}
          text={options.text}
          displayMode={options.displayMode}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          showUnfilled={options.showUnfilled}
        />
      )}
    />
  );
}

function Rows({ panel, frames, width, height }: Props) {
  const { sortBy, cellHeight, showHeader } = panel.options;
  const [data] = frames;
  if (!data?.length) {
    return <Nothing panel={panel} />;
  }
  return (
    <Table
      {...{ data, width, height, cellHeight }}
      columnMinWidth={80}
      noHeader={!showHeader}
      initialSortBy={sortBy}
    />
  );
}

export function Nothing({ panel }: { panel: Panel }) {
  const theme = useTheme2();
  return (
    <div
      style={{
        display: "grid",
        placeItems: "center",
        height: "100%",
        color: theme.colors.text.secondary,
      }}
    >
      {panel.fieldConfig.defaults.noValue ?? "No data"}
    </div>
  );
}
