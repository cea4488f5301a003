// SPDX-License-Identifier: Apache-2.0
// A page with one dashboard: `index.html?name=fleet&theme=dark`.

import "uplot/dist/uPlot.min.css";

import { createTheme, type DataFrame, type GrafanaTheme2 } from "@grafana/data";
import { GlobalStyles, Icon, PanelChrome, ThemeContext, useTheme2 } from "@grafana/ui";
import { createRoot } from "react-dom/client";

import type { Panel, Picture } from "./answers";
import { framesOf } from "./frames";
import { KINDS, Nothing, SAYS_NOTHING } from "./panels";

const COLUMNS = 24;
const ROW_PIXELS = 30;
const GAP_PIXELS = 8;
const SIDE_PIXELS = 16;
const HEAD_PIXELS = 56;
const FOOT_PIXELS = 36;

type Frames = Record<number, DataFrame[]>;

async function main(): Promise<void> {
  const asked = new URLSearchParams(location.search);
  const theme = createTheme({
    colors: { mode: asked.get("theme") === "dark" ? "dark" : "light" },
  });
  const picture: Picture = await (await fetch(`${asked.get("name")}.json`)).json();
  const frames: Frames = {};
  for (const panel of picture.panels.filter(({ type }) => type !== "row")) {
    frames[panel.id] = await framesOf(picture, panel, theme);
  }
  await Promise.all(["400", "500"].map((weight) => loaded(weight, theme)));
  createRoot(document.getElementById("page")!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Page {...{ picture, frames }} />
    </ThemeContext.Provider>,
  );
}

/** Have the font before anything is measured by it. */
async function loaded(weight: string, theme: GrafanaTheme2): Promise<void> {
  const name = { 400: "Regular", 500: "Medium" }[weight];
  const family = theme.typography.fontFamily.split(",")[0].replace(/["']/g, "");
  const face = new FontFace(family, `url(public/fonts/inter/Inter-${name}.woff2)`, {
    weight,
  });
  document.fonts.add(await face.load());
}

function Page({ picture, frames }: { picture: Picture; frames: Frames }) {
  const theme = useTheme2();
  const rows = Math.max(...picture.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const height = HEAD_PIXELS + rows * (ROW_PIXELS + GAP_PIXELS) + FOOT_PIXELS;
  return (
    <div
      style={{
        position: "relative",
        height,
        background: theme.colors.background.canvas,
        color: theme.colors.text.primary,
      }}
    >
      <Head picture={picture} />
      {picture.panels.map((panel) => (
        <div key={panel.id} style={{ position: "absolute", ...placeOf(panel) }}>
          {panel.type === "row" ? (
            <Heading title={panel.title} />
          ) : (
            <Framed {...{ picture, panel }} frames={frames[panel.id]} />
          )}
        </div>
      ))}
      <Foot caption={picture.caption} />
    </div>
  );
}

function placeOf({ gridPos: { x, y, w, h } }: Panel) {
  const column = (window.innerWidth - 2 * SIDE_PIXELS + GAP_PIXELS) / COLUMNS;
  const row = ROW_PIXELS + GAP_PIXELS;
  return {
    left: SIDE_PIXELS + x * column,
    top: HEAD_PIXELS + y * row,
    width: w * column - GAP_PIXELS,
    height: h * row - GAP_PIXELS,
  };
}

function Head({ picture }: { picture: Picture }) {
  const theme = useTheme2();
  const { secondary } = theme.colors.text;
  return (
    <div
      style={{
        display: "flex",
        alignItems: "center",
        gap: 24,
        height: HEAD_PIXELS,
        padding: `0 ${SIDE_PIXELS}px`,
      }}
    >
      <span style={{ fontSize: 18, fontWeight: 500 }}>{picture.title}</span>
      {picture.chosen.map(({ label, value }) => (
        <span key={label}>
          <span style={{ color: secondary }}>{label}:</span> {value}
        </span>
      ))}
    </div>
  );
}

function Heading({ title }: { title: string }) {
  return (
    <div style={{ display: "flex", alignItems: "center", gap: 8, height: "100%" }}>
      <Icon name="angle-down" />
      <span style={{ fontSize: 16, fontWeight: 500 }}>{title}</span>
    </div>
  );
}

function Foot({ caption }: { caption: string }) {
  const theme = useTheme2();
  return (
    <div
      style={{
        position: "absolute",
        bottom: 10,
        left: SIDE_PIXELS,
        color: theme.colors.text.secondary,
      }}
    >
      {caption}
    </div>
  );
}

interface FramedProps {
  picture: Picture;
  panel: Panel;
  frames: DataFrame[];
}

function Framed({ picture, panel, frames }: FramedProps) {
  const { width, height } = placeOf(panel);
  const Kind = KINDS[panel.type];
  const empty = !frames.some((frame) => frame.length);
  return (
    <PanelChrome
      {...{ width, height }}
      title={panel.title}
      description={panel.description}
      padding={panel.type === "table" ? "none" : "md"}
    >
      {(width: number, height: number) =>
        empty && !SAYS_NOTHING.includes(panel.type) ? (
          <Nothing panel={panel} />
        ) : (
          <Kind {...{ picture, panel, frames, width, height }} />
        )
      }
    </PanelChrome>
  );
}

void main();
